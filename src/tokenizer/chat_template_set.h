// The chat templates of one model: some have one for conversations with tools and one for all others.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/status.h"
#include "formats/metadata.h"
#include "tokenizer/chat_template.h"

namespace inkstone {

// Jinja sources by name. "default" is for every conversation, "tool_use" for those with tools.
using ChatTemplateSources = std::map<std::string, std::string, std::less<>>;

// The one that stands for the model: "default", or the only one. Empty when there is none.
std::string_view MainTemplate(const ChatTemplateSources& sources);

// Of a Hugging Face folder: chat_template.jinja and additional_chat_templates/NAME.jinja. Empty when it has neither.
Result<ChatTemplateSources> TemplatesOfFolder(const std::string& folder);
// "tokenizer.chat_template" is the default one, "tokenizer.chat_template.NAME" those that "tokenizer.chat_templates"
// names; as llama.cpp's converter writes them.
Result<ChatTemplateSources> TemplatesOfMetadata(const Metadata& metadata);
void ExportTemplates(const ChatTemplateSources& sources, Metadata* metadata);

// Parsed once, rendered by any number of threads.
class ChatTemplateSet {
 public:
  // kUnimplemented when there is none. Errors name the template, and no path: they reach a server's clients.
  static Result<ChatTemplateSet> Parse(const ChatTemplateSources& sources);

  // As ChatTemplate::Render, by the template for this conversation.
  Result<std::string> Render(const ChatPrompt& prompt, const RenderLimits& limits = {},
                             const TextMark& mark = {}) const;

 private:
  explicit ChatTemplateSet(ChatTemplate main) : main_(std::move(main)) {}

  ChatTemplate main_;
  std::optional<ChatTemplate> tool_use_;
};

}  // namespace inkstone

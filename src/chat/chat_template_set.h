// The chat templates of one model, ready to render.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "chat/chat_template.h"
#include "core/status.h"
#include "tokenizer/chat_template_sources.h"

namespace inkstone {

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

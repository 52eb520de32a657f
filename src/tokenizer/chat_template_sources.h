// The chat templates that a model comes with: some have one for conversations with tools and one for all others.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/status.h"
#include "formats/metadata.h"

namespace inkstone {

// Jinja sources by name. "default" is for every conversation, "tool_use" for those with tools.
using ChatTemplateSources = std::map<std::string, std::string, std::less<>>;
inline constexpr std::string_view kToolUseTemplate = "tool_use";

// The one that stands for the model: "default", or the only one. Empty when there is none.
std::string_view MainTemplate(const ChatTemplateSources& sources);

// Of a Hugging Face folder: chat_template.jinja and additional_chat_templates/NAME.jinja. Empty when it has neither.
Result<ChatTemplateSources> TemplatesOfFolder(const std::string& folder);
// "tokenizer.chat_template" is the default one, "tokenizer.chat_template.NAME" those that "tokenizer.chat_templates"
// names; as llama.cpp's converter writes them.
Result<ChatTemplateSources> TemplatesOfMetadata(const Metadata& metadata);
void ExportTemplates(const ChatTemplateSources& sources, Metadata* metadata);

}  // namespace inkstone

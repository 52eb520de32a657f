#include "chat/chat_template_set.h"

namespace inkstone {

Result<ChatTemplateSet> ChatTemplateSet::Parse(const ChatTemplateSources& sources) {
  if (sources.empty()) {
    return Unimplemented(
        "the model has no chat template; use a chat ('instruct') model, or raw completion (/v1/completions, inkstone "
        "run --raw)");
  }
  const std::string_view main = MainTemplate(sources);
  if (main.empty()) {
    std::string names;
    for (const auto& [name, text] : sources) names += (names.empty() ? "" : ", ") + name;
    return Unimplemented("the model's chat templates: expected one named \"default\", found " + names);
  }
  INK_ASSIGN_OR_RETURN(ChatTemplate parsed, ChatTemplate::Parse(main, "chat template"));
  ChatTemplateSet set(std::move(parsed));
  if (const auto found = sources.find(kToolUseTemplate); found != sources.end() && sources.size() > 1) {
    INK_ASSIGN_OR_RETURN(set.tool_use_, ChatTemplate::Parse(found->second, "chat template tool_use"));
  }
  return set;
}

Result<std::string> ChatTemplateSet::Render(const ChatPrompt& prompt, const RenderLimits& limits,
                                            const TextMark& mark) const {
  const ChatTemplate& chosen = tool_use_.has_value() && !prompt.tools.is_null() ? *tool_use_ : main_;
  return chosen.Render(prompt, limits, mark);
}

}  // namespace inkstone

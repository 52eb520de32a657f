// One JSON request per line on standard input: {"template": "...", "variables": {...}} or, in place of "variables",
// "prompt": {"messages": [...], "tools": ..., ...} as an OpenAI client sends them. One JSON reply per line:
// {"text": "..."} or {"error": "...", "code": n}.
#include <boost/json.hpp>
#include <iostream>
#include <string>

#include "chat/chat_template.h"

namespace {

namespace json = boost::json;

std::string Text(const json::object& object, const char* key) {
  const json::value* found = object.if_contains(key);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

inkstone::ChatMessage ToMessage(const json::object& object) {
  inkstone::ChatMessage message;
  message.role = Text(object, "role");
  message.content = Text(object, "content");
  message.reasoning_content = Text(object, "reasoning_content");
  message.tool_call_id = Text(object, "tool_call_id");
  message.name = Text(object, "name");
  if (const json::value* calls = object.if_contains("tool_calls")) {
    for (const json::value& call : calls->as_array()) {
      const json::object& function = call.at("function").as_object();
      message.tool_calls.push_back({Text(call.as_object(), "id"), Text(function, "name"), Text(function, "arguments")});
    }
  }
  return message;
}

inkstone::ChatPrompt ToPrompt(const json::object& object) {
  inkstone::ChatPrompt prompt;
  for (const json::value& message : object.at("messages").as_array()) {
    prompt.messages.push_back(ToMessage(message.as_object()));
  }
  if (const json::value* tools = object.if_contains("tools")) prompt.tools = *tools;
  if (const json::value* add = object.if_contains("add_generation_prompt"))
    prompt.add_generation_prompt = add->as_bool();
  if (const json::value* think = object.if_contains("enable_thinking")) prompt.enable_thinking = think->as_bool();
  if (const json::value* extra = object.if_contains("extra")) prompt.extra = extra->as_object();
  prompt.bos_token = Text(object, "bos_token");
  prompt.eos_token = Text(object, "eos_token");
  return prompt;
}

json::object Answer(const json::object& request) {
  const auto parsed = inkstone::ChatTemplate::Parse(Text(request, "template"), "template");
  if (!parsed.ok()) {
    return {{"error", parsed.status().message()}, {"code", static_cast<int>(parsed.status().code())}};
  }
  const auto text = request.contains("prompt") ? parsed->Render(ToPrompt(request.at("prompt").as_object()))
                                               : parsed->Render(request.at("variables").as_object());
  if (!text.ok()) return {{"error", text.status().message()}, {"code", static_cast<int>(text.status().code())}};
  return {{"text", *text}};
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    json::parse_options options;
    options.max_depth = 90;
    std::cout << json::serialize(Answer(json::parse(line, {}, options).as_object())) << std::endl;
  }
  return 0;
}

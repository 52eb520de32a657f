// Any bytes as a chat template: parsing and rendering must end soon, in text or in an error, within the memory bounds.
// After a zero byte, the input's rest is the text of a message, ill-formed UTF-8 included.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "chat/chat_template.h"

namespace {

inkstone::ChatMessage MakeMessage(std::string role, std::string_view content) {
  inkstone::ChatMessage message;
  message.role = std::move(role);
  message.content = content;
  return message;
}

inkstone::ChatPrompt MakePrompt(std::string_view text) {
  inkstone::ChatPrompt prompt;
  prompt.messages.push_back(MakeMessage("system", "Be brief."));
  prompt.messages.push_back(MakeMessage("user", text));
  inkstone::ChatMessage answer = MakeMessage("assistant", "<think>a</think>b");
  answer.reasoning_content = "c";
  answer.tool_calls.push_back({"id1", "f", R"({"a": [1, 2.5, null], "b": {"c": true}})"});
  prompt.messages.push_back(std::move(answer));
  prompt.messages.push_back(MakeMessage("tool", "42"));
  prompt.messages.back().tool_call_id = "id1";
  prompt.messages.back().name = "f";
  boost::json::object function = {{"name", "f"}, {"parameters", {{"type", "object"}, {"items", {1, "x", 0.1}}}}};
  prompt.tools = boost::json::array{{{"type", "function"}, {"function", std::move(function)}}};
  prompt.enable_thinking = true;
  prompt.bos_token = "<s>";
  prompt.now = 1700000000;
  return prompt;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t zero = all.find('\0');
  const std::string_view text = zero == all.npos ? "h\xC3\xA9llo" : all.substr(zero + 1);
  const auto parsed = inkstone::ChatTemplate::Parse(std::string(all.substr(0, zero)), "fuzz");
  if (!parsed.ok()) return 0;
  const inkstone::RenderLimits limits{.max_steps = 100'000, .max_output_bytes = 4 << 20};
  const auto rendered = parsed->Render(MakePrompt(text), limits);
  if (rendered.ok() && rendered->size() > static_cast<size_t>(limits.max_output_bytes)) __builtin_trap();
  return 0;
}

// Renders a model's chat template: Jinja as Hugging Face's apply_chat_template runs it.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "jinja/render_limits.h"

namespace inkstone {

// Nesting of the JSON in a request, and of a call's arguments that are JSON within a text: one bound for all who parse.
inline constexpr int kMaxJsonDepth = 64;

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON text of an object
};

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
  std::string reasoning_content;  // of an assistant's turn, may be empty
  std::vector<ToolCall> tool_calls;
  std::string tool_call_id;  // of a tool's turn
  std::string name;
  bool content_is_null = false;  // `content: null`, which some templates ask for; `content` is then empty
};

struct ChatPrompt {
  std::vector<ChatMessage> messages;
  boost::json::value tools;  // array of OpenAI tool objects, or null
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // the text ends where the last message does (Session's work)
  std::optional<bool> enable_thinking;  // passed only when set
  boost::json::object extra;            // chat_template_kwargs: further variables
  std::string bos_token;
  std::string eos_token;
  std::optional<int64_t> now;  // seconds since 1970 for strftime_now; the clock's when not set
};

// Parsed once, rendered by any number of threads.
class ChatTemplate {
 public:
  // kDataLoss on a syntax error: "<name>: line 3, column 14: expected ... found ...".
  static Result<ChatTemplate> Parse(std::string_view source, std::string name);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // kInvalidArgument when the template calls raise_exception (its message is the error's), kDataLoss with line and
  // column on other failures, kResourceExhausted when a limit is reached.
  // Every text that comes from the caller goes through `mark`, but for the tokens that the model itself names.
  Result<std::string> Render(const ChatPrompt& prompt, const RenderLimits& limits = {},
                             const TextMark& mark = {}) const;
  // The general form: any variables.
  Result<std::string> Render(const boost::json::object& variables, const RenderLimits& limits = {}) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace inkstone

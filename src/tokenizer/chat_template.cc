#include "tokenizer/chat_template.h"

#include <boost/json/parse.hpp>
#include <ctime>

#include "tokenizer/jinja_interpreter.h"
#include "tokenizer/jinja_json.h"
#include "tokenizer/jinja_parser.h"

namespace inkstone {
namespace {

constexpr size_t kMaxSourceBytes = 256 << 10;  // real templates have up to some 30 KiB

std::string Located(const std::string& name, jinja::Position position, const std::string& message) {
  return name + ": line " + std::to_string(position.line) + ", column " + std::to_string(position.column) + ": " +
         message;
}

// A tool call's arguments: the object that the text holds, or the text itself when it is not JSON.
jinja::Value Arguments(const std::string& text) {
  boost::json::parse_options options;
  options.max_depth = 90;
  boost::system::error_code error;
  const boost::json::value parsed = boost::json::parse(text, error, {}, options);
  return error ? jinja::InputText(text) : jinja::FromJson(parsed);
}

jinja::Value ToValue(const ToolCall& call) {
  using jinja::InputDict;
  using jinja::InputText;
  std::vector<std::pair<std::string_view, jinja::Value>> items;
  if (!call.id.empty()) items.emplace_back("id", InputText(call.id));
  items.emplace_back("type", InputText("function"));
  items.emplace_back("function", InputDict({{"name", InputText(call.name)}, {"arguments", Arguments(call.arguments)}}));
  return InputDict(std::move(items));
}

jinja::Value ToValue(const ChatMessage& message) {
  using jinja::InputText;
  std::vector<std::pair<std::string_view, jinja::Value>> items;
  items.emplace_back("role", InputText(message.role));
  items.emplace_back("content", InputText(message.content));
  if (!message.reasoning_content.empty()) {
    items.emplace_back("reasoning_content", InputText(message.reasoning_content));
  }
  if (!message.tool_calls.empty()) {
    std::vector<jinja::Value> calls;
    for (const ToolCall& call : message.tool_calls) calls.push_back(ToValue(call));
    items.emplace_back("tool_calls", jinja::InputList(std::move(calls)));
  }
  if (!message.tool_call_id.empty()) items.emplace_back("tool_call_id", InputText(message.tool_call_id));
  if (!message.name.empty()) items.emplace_back("name", InputText(message.name));
  return jinja::InputDict(std::move(items));
}

// Variables as transformers' apply_chat_template passes them; `extra` replaces those of the same name.
jinja::Interpreter::Variables ToVariables(const ChatPrompt& prompt) {
  jinja::Interpreter::Variables variables;
  for (const auto& item : prompt.extra) variables.emplace_back(item.key(), jinja::FromJson(item.value()));
  std::vector<jinja::Value> messages;
  for (const ChatMessage& message : prompt.messages) messages.push_back(ToValue(message));
  variables.emplace_back("messages", jinja::InputList(std::move(messages)));
  variables.emplace_back("tools", jinja::FromJson(prompt.tools));
  variables.emplace_back("documents", jinja::Value::None());
  variables.emplace_back("add_generation_prompt", jinja::Value::Bool(prompt.add_generation_prompt));
  variables.emplace_back("bos_token", jinja::InputText(prompt.bos_token));
  variables.emplace_back("eos_token", jinja::InputText(prompt.eos_token));
  if (prompt.enable_thinking.has_value()) {
    variables.emplace_back("enable_thinking", jinja::Value::Bool(*prompt.enable_thinking));
  }
  return variables;
}

}  // namespace

struct ChatTemplate::Impl {
  jinja::Template source;

  Result<std::string> Run(const jinja::Interpreter::Variables& variables, const RenderLimits& limits,
                          int64_t now) const {
    jinja::Interpreter interpreter(source, variables, limits, now);
    try {
      return interpreter.Run();
    } catch (const jinja::Error& error) {
      if (error.code == StatusCode::kInvalidArgument) return InvalidArgument(error.message);
      return Status(error.code, Located(source.name, interpreter.position(), error.message));
    }
  }

  // `make` builds the variables; it may fail on what is nested too deeply.
  template <typename Make>
  Result<std::string> RunWith(Make make, const RenderLimits& limits, int64_t now) const {
    try {
      return Run(make(), limits, now);
    } catch (const jinja::Error& error) {
      return DataLoss(source.name + ": " + error.message);
    }
  }
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::Parse(std::string_view source, std::string name) {
  if (source.size() > kMaxSourceBytes) {
    return DataLoss(name + ": expected a template of at most " + std::to_string(kMaxSourceBytes) + " bytes, found " +
                    std::to_string(source.size()));
  }
  auto impl = std::make_unique<Impl>();
  impl->source.name = std::move(name);
  try {
    impl->source.body = jinja::Parser(jinja::Tokenize(source)).Parse();
  } catch (const jinja::SyntaxError& error) {
    return DataLoss(Located(impl->source.name, error.position, error.message));
  }
  return ChatTemplate(std::move(impl));
}

Result<std::string> ChatTemplate::Render(const ChatPrompt& prompt, const RenderLimits& limits) const {
  return impl_->RunWith([&] { return ToVariables(prompt); }, limits,
                        prompt.now.has_value() ? *prompt.now : static_cast<int64_t>(std::time(nullptr)));
}

Result<std::string> ChatTemplate::Render(const boost::json::object& variables, const RenderLimits& limits) const {
  const auto make = [&] {
    jinja::Interpreter::Variables result;
    for (const auto& item : variables) result.emplace_back(item.key(), jinja::FromJson(item.value()));
    return result;
  };
  return impl_->RunWith(make, limits, static_cast<int64_t>(std::time(nullptr)));
}

}  // namespace inkstone

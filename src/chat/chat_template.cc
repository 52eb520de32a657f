#include "chat/chat_template.h"

#include <boost/json/parse.hpp>
#include <ctime>

#include "jinja/interpreter.h"
#include "jinja/json.h"
#include "jinja/parser.h"

namespace inkstone {
namespace {

constexpr size_t kMaxSourceBytes = 256 << 10;  // real templates have up to some 30 KiB

std::string Located(const std::string& name, jinja::Position position, const std::string& message) {
  return name + ": line " + std::to_string(position.line) + ", column " + std::to_string(position.column) + ": " +
         message;
}

// What a template makes of values that clients write in more than one way, found out by trying.
struct Habits {
  bool text_arguments = false;  // a call's arguments as JSON text, not as an object
  bool null_content = true;     // `content: null` as none, not as ""
};

// The caller's conversation as the values that transformers' apply_chat_template passes.
class Variables {
 public:
  Variables(const Habits& habits, const TextMark& mark) : habits_(habits), mark_(mark) {}

  // Those of `extra` come first, and so replace others of the same name.
  jinja::Interpreter::Variables Of(const ChatPrompt& prompt) const {
    jinja::Interpreter::Variables variables;
    for (const auto& item : prompt.extra) variables.emplace_back(item.key(), jinja::FromJson(item.value(), mark_));
    std::vector<jinja::Value> messages;
    for (const ChatMessage& message : prompt.messages) messages.push_back(Message(message));
    variables.emplace_back("messages", jinja::InputList(std::move(messages)));
    variables.emplace_back("tools", jinja::FromJson(prompt.tools, mark_));
    variables.emplace_back("documents", jinja::Value::None());
    variables.emplace_back("add_generation_prompt", jinja::Value::Bool(prompt.add_generation_prompt));
    variables.emplace_back("bos_token", jinja::InputText(prompt.bos_token));
    variables.emplace_back("eos_token", jinja::InputText(prompt.eos_token));
    if (prompt.enable_thinking.has_value()) {
      variables.emplace_back("enable_thinking", jinja::Value::Bool(*prompt.enable_thinking));
    }
    return variables;
  }

 private:
  using Items = std::vector<std::pair<std::string_view, jinja::Value>>;

  jinja::Value Text(const std::string& text, TextSlot slot = TextSlot::kText) const {
    return jinja::InputText(mark_ ? mark_(text, slot) : text);
  }

  // The object that the text holds, or the text itself when it is not JSON. Strings are marked after they are parsed:
  // escapes can spell anything.
  jinja::Value Arguments(const std::string& text) const {
    if (habits_.text_arguments) return Text(text);
    boost::json::parse_options options;
    options.max_depth = kMaxJsonDepth;
    boost::system::error_code error;
    const boost::json::value parsed = boost::json::parse(text, error, {}, options);
    return error ? Text(text) : jinja::FromJson(parsed, mark_);
  }

  jinja::Value Call(const ToolCall& call) const {
    Items items;
    if (!call.id.empty()) items.emplace_back("id", Text(call.id));
    items.emplace_back("type", jinja::InputText("function"));
    items.emplace_back("function",
                       jinja::InputDict({{"name", Text(call.name)}, {"arguments", Arguments(call.arguments)}}));
    return jinja::InputDict(std::move(items));
  }

  jinja::Value Message(const ChatMessage& message) const {
    Items items;
    items.emplace_back("role", Text(message.role, TextSlot::kName));
    const bool null = message.content_is_null && habits_.null_content;
    items.emplace_back("content", null ? jinja::Value::None() : Text(message.content));
    if (!message.reasoning_content.empty()) items.emplace_back("reasoning_content", Text(message.reasoning_content));
    if (!message.tool_calls.empty()) {
      std::vector<jinja::Value> calls;
      for (const ToolCall& call : message.tool_calls) calls.push_back(Call(call));
      items.emplace_back("tool_calls", jinja::InputList(std::move(calls)));
    }
    if (!message.tool_call_id.empty()) items.emplace_back("tool_call_id", Text(message.tool_call_id));
    if (!message.name.empty()) items.emplace_back("name", Text(message.name));
    return jinja::InputDict(std::move(items));
  }

  const Habits& habits_;
  const TextMark& mark_;
};

// A call and its answer, as a conversation of its own.
ChatPrompt ProbePrompt() {
  ChatPrompt prompt;
  prompt.now = 0;
  prompt.messages.resize(3);
  prompt.messages[0] = {.role = "user", .content = "question"};
  ChatMessage& call = prompt.messages[1];
  call.role = "assistant";
  call.content_is_null = true;
  call.tool_calls.push_back({"abcdefghi", "probe", R"({"needle": "thread"})"});
  prompt.messages[2] = {.role = "tool", .content = "answer", .tool_call_id = "abcdefghi", .name = "probe"};
  return prompt;
}

}  // namespace

struct ChatTemplate::Impl {
  jinja::Template source;
  Habits habits;

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
  Result<std::string> Render(const ChatPrompt& prompt, const Habits& as, const RenderLimits& limits,
                             const TextMark& mark) const {
    return RunWith([&] { return Variables(as, mark).Of(prompt); }, limits,
                   prompt.now.has_value() ? *prompt.now : static_cast<int64_t>(std::time(nullptr)));
  }

  // Renders a call in each way. Objects and none are what transformers passes: another way is taken only where it
  // works and these fail, or come out as Python writes them ({'needle': 'thread'}, None).
  void FindHabits() {
    const RenderLimits limits{.max_steps = 50'000, .max_output_bytes = 1 << 20};
    const auto render = [&](const Habits& as) { return Render(ProbePrompt(), as, limits, {}); };
    const auto has = [](const Result<std::string>& text, std::string_view part) {
      return text.ok() && text->find(part) != std::string::npos;
    };
    const auto object = render({.text_arguments = false, .null_content = false});
    const auto text = render({.text_arguments = true, .null_content = false});
    habits.text_arguments = has(text, R"({"needle": "thread"})") && (!object.ok() || has(object, "{'needle'"));
    const auto& empty = habits.text_arguments ? text : object;
    const auto null = render({.text_arguments = habits.text_arguments, .null_content = true});
    habits.null_content = null.ok() ? !has(null, "None") || has(empty, "None") : !empty.ok();
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
  impl->FindHabits();
  return ChatTemplate(std::move(impl));
}

Result<std::string> ChatTemplate::Render(const ChatPrompt& prompt, const RenderLimits& limits,
                                         const TextMark& mark) const {
  return impl_->Render(prompt, impl_->habits, limits, mark);
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

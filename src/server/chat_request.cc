#include "server/chat_request.h"

#include <array>
#include <boost/json.hpp>
#include <utility>

#include "server/json_fields.h"
#include "server/json_text.h"
#include "server/json_writer.h"
#include "server/request_limits.h"
#include "server/unsupported_fields.h"

namespace inkstone {
namespace {

using boost::json::value;

// Text of a content field: a string, or text parts joined. `is_null`: the field is there and says null.
void ParseContent(FieldReader& message, std::string* content, bool* is_null) {
  const value* found = message.Find("content");
  *is_null = found == nullptr && message.Has("content");
  if (found == nullptr) return;
  if (found->is_string()) {
    content->assign(View(found->get_string()));
    return;
  }
  if (!found->is_array()) return message.Fail("content", "a string, null or a list of text parts", found);
  size_t index = 0;
  for (const value& item : found->get_array()) {
    const std::string name = "content[" + std::to_string(index++) + "]";
    if (!item.is_object()) return message.Fail(name, "an object with \"type\" and \"text\"", &item);
    FieldReader part(item.get_object(), message.Path(name));
    std::string type;
    part.RequiredString("type", &type);
    if (part.ok() && type != "text") {
      part.FailWith("type",
                    "'" + part.Path("type") + "': this model reads text only; expected \"text\", found " +
                        ToJson(value(boost::json::string_view(type.data(), type.size()))),
                    "unsupported_content");
    }
    std::string text;
    part.RequiredString("text", &text);
    message.Adopt(part);
    if (!message.ok()) return;
    if (index > 1) content->push_back('\n');
    content->append(text);
  }
}

// What the template is to turn into its own objects, counted before it is copied.
void CountTemplateValues(FieldReader& fields, std::string_view name, size_t values, ChatRequest* request) {
  request->template_values += values;
  if (request->template_values <= kMaxTemplateValues) return;
  fields.FailWith(name,
                  "'" + fields.Path(name) + "': expected at most " + std::to_string(kMaxTemplateValues) +
                      " JSON values in all tools, tool calls and template variables together, found more",
                  "request_limit");
}

void ParseArguments(FieldReader& function, std::string* arguments, ChatRequest* request) {
  const value* found = function.Find("arguments");
  *arguments = "{}";
  if (found == nullptr || (found->is_string() && found->get_string().empty())) return;
  if (found->is_object()) {
    *arguments = ToJson(*found);
    return;
  }
  if (found->is_string()) {
    std::string text(View(found->get_string()));
    JsonScan scan = ScanJson(text, kMaxTemplateValues);
    if (scan.surrogates) {
      text = RepairSurrogates(text);
      scan = ScanJson(text, kMaxTemplateValues);
    }
    CountTemplateValues(function, "arguments", scan.values, request);
    const size_t first = text.find_first_not_of(" \t\r\n");
    if (!function.ok() || (scan.ok() && text[first] == '{')) {
      *arguments = std::move(text);
      return;
    }
  }
  function.Fail("arguments", "a JSON object, as an object or as its text", found);
}

void ParseToolCalls(FieldReader& message, std::vector<ToolCall>* calls, ChatRequest* request) {
  const value* found = message.Find("tool_calls");
  if (found == nullptr) return;
  if (!found->is_array()) return message.Fail("tool_calls", "a list", found);
  CountTemplateValues(message, "tool_calls", CountValues(*found), request);
  if (!message.ok()) return;
  for (const value& item : found->get_array()) {
    const std::string name = "tool_calls[" + std::to_string(calls->size()) + "]";
    if (!item.is_object()) return message.Fail(name, "an object", &item);
    FieldReader call(item.get_object(), message.Path(name));
    ToolCall& out = calls->emplace_back();
    call.String("id", &out.id);
    const value* function = call.Find("function");
    if (function == nullptr || !function->is_object()) {
      call.Fail("function", "an object with \"name\" and \"arguments\"", function);
    } else {
      FieldReader inner(function->get_object(), call.Path("function"));
      inner.RequiredString("name", &out.name);
      ParseArguments(inner, &out.arguments, request);
      call.Adopt(inner);
    }
    message.Adopt(call);
    if (!message.ok()) return;
  }
}

void ParseMessage(FieldReader& fields, const value& item, size_t index, ChatRequest* request) {
  const std::string name = "messages[" + std::to_string(index) + "]";
  if (!item.is_object()) return fields.Fail(name, "an object with \"role\" and \"content\"", &item);
  FieldReader reader(item.get_object(), name);
  ChatMessage message;
  reader.RequiredString("role", &message.role);
  if (message.role == "developer") message.role = "system";
  static constexpr std::array<std::string_view, 4> kRoles = {"system", "user", "assistant", "tool"};
  if (reader.ok() && std::find(kRoles.begin(), kRoles.end(), message.role) == kRoles.end()) {
    reader.Fail("role", "\"system\", \"developer\", \"user\", \"assistant\" or \"tool\"", reader.Find("role"));
  }
  ParseContent(reader, &message.content, &message.content_is_null);
  reader.String("name", &message.name);
  if (message.role == "assistant") {
    if (!reader.String("reasoning_content", &message.reasoning_content)) {
      reader.String("reasoning", &message.reasoning_content);
    }
    ParseToolCalls(reader, &message.tool_calls, request);
  } else if (message.role == "tool") {
    reader.String("tool_call_id", &message.tool_call_id);
  }
  if (reader.ok() && message.role == "user" && reader.Find("content") == nullptr) {
    reader.Fail("content", "a string or a list of text parts", nullptr);
  }
  fields.Adopt(reader);
  request->prompt.messages.push_back(std::move(message));
}

void ParseMessages(FieldReader& fields, ChatRequest* request) {
  const value* found = fields.Find("messages");
  if (found == nullptr || !found->is_array() || found->get_array().empty()) {
    return fields.Fail("messages", "a list of at least one message", found);
  }
  if (found->get_array().size() > kMaxMessages) {
    return fields.Fail("messages", "at most " + std::to_string(kMaxMessages) + " messages", found);
  }
  size_t index = 0;
  for (const value& item : found->get_array()) {
    ParseMessage(fields, item, index++, request);
    if (!fields.ok()) return;
  }
}

void ParseTools(FieldReader& fields, ChatRequest* request) {
  const value* tools = fields.Find("tools");
  if (tools != nullptr && (!tools->is_array() || tools->get_array().size() > kMaxTools)) {
    return fields.Fail("tools", "a list of at most " + std::to_string(kMaxTools) + " tools", tools);
  }
  if (tools != nullptr) CountTemplateValues(fields, "tools", CountValues(*tools), request);
  if (!fields.ok()) return;
  const bool any = tools != nullptr && !tools->get_array().empty();
  for (size_t i = 0; any && i < tools->get_array().size(); ++i) {
    const value& tool = tools->get_array()[i];
    const std::string name = "tools[" + std::to_string(i) + "]";
    if (!tool.is_object()) return fields.Fail(name, "an object", &tool);
    FieldReader reader(tool.get_object(), name);
    const value* function = reader.Find("function");
    if (function == nullptr || !function->is_object()) {
      reader.Fail("function", "an object with a \"name\"", function);
    } else {
      FieldReader inner(function->get_object(), reader.Path("function"));
      std::string ignored;
      inner.RequiredString("name", &ignored);
      reader.Adopt(inner);
    }
    fields.Adopt(reader);
    if (!fields.ok()) return;
  }
  fields.Bool("parallel_tool_calls", &request->parallel_tool_calls);
  const value* choice = fields.Find("tool_choice");
  if (choice != nullptr && !choice->is_string() && !choice->is_object()) {
    return fields.Fail("tool_choice", "\"none\" or \"auto\"", choice);
  }
  if (choice != nullptr &&
      (choice->is_object() || (choice->get_string() != "auto" && choice->get_string() != "none"))) {
    return fields.FailWith("tool_choice",
                           "'tool_choice': this server lets the model decide; expected \"auto\" or \"none\", found " +
                               Describe(*choice) + ". Ask for the tool in the prompt instead",
                           "unsupported");
  }
  const bool allowed = choice == nullptr || choice->get_string() == "auto";
  if (any && allowed) {
    request->prompt.tools = *tools;
    request->parse_tools = true;
  }
}

// The last message is the model's own, which it is to go on with.
void ParseContinuation(FieldReader& fields, ChatPrompt* prompt) {
  fields.Bool("continue_final_message", &prompt->continue_final_message);
  if (!fields.ok() || !prompt->continue_final_message) return;
  if (fields.Find("add_generation_prompt") != nullptr && prompt->add_generation_prompt) {
    return fields.FailWith("continue_final_message",
                           "'continue_final_message': expected \"add_generation_prompt\": false or nothing beside it, "
                           "found true: an answer goes on with a message or begins one");
  }
  prompt->add_generation_prompt = false;
  const ChatMessage& last = prompt->messages.back();
  if (last.role == "assistant" && !last.content.empty() && last.tool_calls.empty()) return;
  fields.FailWith("continue_final_message",
                  "'continue_final_message': expected a last message of the assistant with text and without tool "
                  "calls, found one of role \"" +
                      last.role + "\"" + (last.role == "assistant" ? " with tool calls or without text" : ""));
}

void ParseTemplateVariables(FieldReader& fields, ChatRequest* request) {
  ChatPrompt* prompt = &request->prompt;
  if (const value* extra = fields.Find("chat_template_kwargs")) {
    if (!extra->is_object()) return fields.Fail("chat_template_kwargs", "an object", extra);
    CountTemplateValues(fields, "chat_template_kwargs", CountValues(*extra), request);
    if (!fields.ok()) return;
    prompt->extra = extra->get_object();
    FieldReader inner(prompt->extra, "chat_template_kwargs");
    bool thinking = false;
    if (inner.Bool("enable_thinking", &thinking)) prompt->enable_thinking = thinking;
    fields.Adopt(inner);
    prompt->extra.erase("enable_thinking");
    // These are set by the server: a client must not replace them.
    for (const char* name : {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}) {
      prompt->extra.erase(name);
    }
  }
  bool thinking = false;
  std::string effort;
  if (fields.String("reasoning_effort", &effort) && effort == "none") prompt->enable_thinking = false;
  if (fields.Bool("enable_thinking", &thinking)) prompt->enable_thinking = thinking;
  fields.Bool("add_generation_prompt", &prompt->add_generation_prompt);
}

void ParseLogprobs(FieldReader& fields, GenerationRequest* request) {
  bool logprobs = false;
  fields.Bool("logprobs", &logprobs);
  int64_t top = 0;
  const bool has_top = fields.Integer("top_logprobs", 0, 20, &top);
  if (has_top && top > 0 && !logprobs) {
    fields.FailWith("top_logprobs", "'top_logprobs': expected \"logprobs\": true beside it, found it without");
  }
  if (logprobs) request->top_logprobs = static_cast<int>(top);
}

}  // namespace

std::optional<ApiError> ParseChatPrompt(FieldReader& fields, ChatRequest* request) {
  ParseMessages(fields, request);
  if (fields.ok()) ParseTools(fields, request);
  ParseTemplateVariables(fields, request);
  if (fields.ok()) ParseContinuation(fields, &request->prompt);
  return fields.error();
}

std::optional<ApiError> ParseChatRequest(std::string_view body, const ModelFacts& facts, ChatRequest* request) {
  boost::json::object object;
  if (auto error = ParseBody(body, &object)) return error;
  FieldReader fields(object);
  if (!facts.has_chat_template) {
    return ApiError{.message = "This model has no chat template; use /v1/completions with a plain prompt instead.",
                    .code = "unsupported"};
  }
  RefuseUnsupported(fields, FieldScope::kChat);
  ParseGenerationParams(fields, facts, -1, &request->params);
  ParseLogprobs(fields, &request->params.request);
  if (auto error = ParseChatPrompt(fields, request)) return error;
  return std::nullopt;
}

}  // namespace inkstone

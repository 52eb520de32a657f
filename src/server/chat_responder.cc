#include "server/chat_responder.h"

namespace inkstone {

ChatResponder::ChatResponder(ChatResponderOptions options, const Tokenizer& tokenizer)
    : options_(std::move(options)), tokenizer_(tokenizer) {
  for (int i = 0; i < options_.choices; ++i) choices_.emplace_back(options_, tokenizer_);
}

std::string ChatResponder::Chunk(size_t index, const std::string& delta, const std::string& finish, bool first) {
  Choice& choice = choices_[index];
  JsonWriter json = BeginAnswer(options_.head, options_.head.object);
  json.Key("choices").BeginArray().BeginObject().Field("index", index).Key("delta").Raw(delta).Key("logprobs");
  if (choice.unsent.empty()) {
    json.Null();
  } else {
    WriteChatLogprobs(json, choice.unsent, tokenizer_);
    choice.unsent.clear();
  }
  json.Key("finish_reason");
  if (finish.empty()) {
    json.Null();
  } else {
    json.Value(finish);
  }
  json.EndObject().EndArray();
  if (first || !finish.empty()) WriteContext(json, options_.context);
  if (!finish.empty()) WriteTimings(json, choice.usage);
  if (options_.include_usage) json.Key("usage").Null();
  return SseData(json.EndObject().Take());
}

std::string ChatResponder::Head() {
  std::string out;
  for (size_t i = 0; i < choices_.size(); ++i) out += Chunk(i, R"({"role":"assistant","content":""})", "", true);
  return out;
}

std::string ChatResponder::CallChunks(size_t index, size_t call_index) {
  const Call& call = choices_[index].calls[call_index];
  JsonWriter first;
  first.BeginObject().Key("tool_calls").BeginArray().BeginObject().Field("index", call_index).Field("id", call.id);
  first.Field("type", "function").Key("function").BeginObject();
  first.Field("name", call.call.name).Field("arguments", "").EndObject().EndObject().EndArray().EndObject();
  JsonWriter second;
  second.BeginObject().Key("tool_calls").BeginArray().BeginObject().Field("index", call_index);
  second.Key("function").BeginObject().Field("arguments", call.call.arguments).EndObject();
  second.EndObject().EndArray().EndObject();
  return Chunk(index, first.Take(), "") + Chunk(index, second.Take(), "");
}

std::string ChatResponder::Advance(size_t index, const std::string& reasoning, ToolCallParser::Parts parts) {
  Choice& choice = choices_[index];
  std::string out;
  if (!reasoning.empty()) {
    choice.reasoning += reasoning;
    out += Chunk(index, JsonWriter().BeginObject().Field(options_.reasoning_field, reasoning).EndObject().Take(), "");
  }
  if (!parts.content.empty()) {
    choice.content += parts.content;
    out += Chunk(index, JsonWriter().BeginObject().Field("content", parts.content).EndObject().Take(), "");
  }
  for (ParsedToolCall& call : parts.calls) {
    if (!options_.parallel_tool_calls && !choice.calls.empty()) break;
    choice.calls.push_back({RandomId("call_"), std::move(call)});
    out += CallChunks(index, choice.calls.size() - 1);
  }
  return out;
}

const char* ChatResponder::FinishOf(const Choice& choice, FinishReason reason) const {
  return reason == FinishReason::kStop && !choice.calls.empty() ? "tool_calls" : FinishText(reason);
}

std::string ChatResponder::OnEvent(size_t index, const GenerationEvent& event) {
  Choice& choice = choices_[index];
  std::string out;
  if (options_.return_progress && event.tokens.empty() && !event.finish && event.prefilled_tokens > 0) {
    out += SseData(ProgressChunk(options_.head, event.prefilled_tokens, options_.prompt_tokens));
  }
  if (options_.logprobs) {
    choice.tokens.insert(choice.tokens.end(), event.tokens.begin(), event.tokens.end());
    choice.unsent.insert(choice.unsent.end(), event.tokens.begin(), event.tokens.end());
  }
  const auto parts = choice.reasoning_parser.Push(event.text, event.tokens);
  out += Advance(index, parts.reasoning, choice.tool_parser.Push(parts.answer));
  if (!event.finish) return out;

  const auto rest = choice.reasoning_parser.Finish(*event.finish == FinishReason::kStop);
  out += Advance(index, rest.reasoning, choice.tool_parser.Push(rest.answer));
  out += Advance(index, "", choice.tool_parser.Finish());
  choice.usage = event.usage;
  choice.finish = FinishOf(choice, *event.finish);
  return out + Chunk(index, "{}", choice.finish);
}

std::string ChatResponder::Tail() {
  std::string out;
  if (options_.include_usage) {
    AnswerUsage usage;
    for (size_t i = 0; i < choices_.size(); ++i) usage.Add(choices_[i].usage, i == 0);
    JsonWriter json = BeginAnswer(options_.head, options_.head.object);
    json.Key("choices").BeginArray().EndArray();
    WriteUsage(json, usage);
    WriteContext(json, options_.context);
    WriteTimings(json, choices_[0].usage);
    out = SseData(json.EndObject().Take());
  }
  return out + SseData("[DONE]");
}

void ChatResponder::WriteMessage(JsonWriter& json, const Choice& choice) const {
  json.Key("message").BeginObject().Field("role", "assistant").Key("content");
  if (choice.content.empty() && !choice.calls.empty()) {
    json.Null();
  } else {
    json.Value(choice.content);
  }
  if (!choice.reasoning.empty()) json.Field(options_.reasoning_field, choice.reasoning);
  if (!choice.calls.empty()) {
    json.Key("tool_calls").BeginArray();
    for (const Call& call : choice.calls) {
      json.BeginObject().Field("id", call.id).Field("type", "function").Key("function").BeginObject();
      json.Field("name", call.call.name).Field("arguments", call.call.arguments).EndObject().EndObject();
    }
    json.EndArray();
  }
  json.EndObject();
}

std::string ChatResponder::Body() {
  AnswerUsage usage;
  JsonWriter json = BeginAnswer(options_.head, "chat.completion");
  json.Key("choices").BeginArray();
  for (size_t i = 0; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    usage.Add(choice.usage, i == 0);
    json.BeginObject().Field("index", i);
    WriteMessage(json, choice);
    json.Key("logprobs");
    if (options_.logprobs) {
      WriteChatLogprobs(json, choice.tokens, tokenizer_);
    } else {
      json.Null();
    }
    json.Field("finish_reason", choice.finish).EndObject();
  }
  json.EndArray();
  WriteUsage(json, usage);
  WriteContext(json, options_.context);
  WriteTimings(json, choices_[0].usage);
  return json.EndObject().Take();
}

}  // namespace inkstone

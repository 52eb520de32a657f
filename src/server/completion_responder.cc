#include "server/completion_responder.h"

#include <algorithm>
#include <set>

namespace inkstone {
namespace {

int64_t CodePoints(std::string_view bytes) {
  return std::count_if(bytes.begin(), bytes.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace

CompletionResponder::CompletionResponder(CompletionResponderOptions options, const Tokenizer& tokenizer)
    : options_(std::move(options)),
      tokenizer_(tokenizer),
      choices_(options_.echo.size() * static_cast<size_t>(options_.choices_per_prompt)) {}

void CompletionResponder::WriteLogprobs(JsonWriter& json, const std::vector<GeneratedToken>& tokens,
                                        int64_t* offset) const {
  json.BeginObject().Key("tokens").BeginArray();
  for (const GeneratedToken& token : tokens) json.Value(tokenizer_.TokenBytes(token.token));
  json.EndArray().Key("token_logprobs").BeginArray();
  for (const GeneratedToken& token : tokens) json.Value(JsonLogprob(token.logprob));
  json.EndArray().Key("top_logprobs").BeginArray();
  for (const GeneratedToken& token : tokens) {
    std::set<std::string> seen;  // partial characters look alike: the likeliest stays
    json.BeginObject();
    for (const TokenLogprob& top : token.top) {
      const std::string text = ValidUtf8(tokenizer_.TokenBytes(top.token));
      if (seen.insert(text).second) json.Field(text, JsonLogprob(top.logprob));
    }
    json.EndObject();
  }
  json.EndArray().Key("text_offset").BeginArray();
  for (const GeneratedToken& token : tokens) {
    json.Value(*offset);
    *offset += CodePoints(tokenizer_.TokenBytes(token.token));
  }
  json.EndArray().EndObject();
}

std::string CompletionResponder::Chunk(size_t index, const std::string& text, const std::vector<GeneratedToken>& tokens,
                                       const std::string& finish) {
  Choice& choice = choices_[index];
  JsonWriter json = BeginAnswer(options_.head, options_.head.object);
  json.Key("choices").BeginArray().BeginObject().Field("index", index).Field("text", text).Key("logprobs");
  if (options_.logprobs && !tokens.empty()) {
    WriteLogprobs(json, tokens, &choice.offset);
  } else {
    json.Null();
  }
  json.Key("finish_reason");
  if (finish.empty()) {
    json.Null();
  } else {
    json.Value(finish);
  }
  json.EndObject().EndArray();
  if (!finish.empty()) WriteContext(json, options_.context);
  if (!finish.empty()) WriteTimings(json, choice.usage);
  if (options_.include_usage) json.Key("usage").Null();
  return SseData(json.EndObject().Take());
}

std::string CompletionResponder::Head() {
  std::string out;
  for (size_t i = 0; i < choices_.size(); ++i) {
    if (!EchoOf(i).empty()) out += Chunk(i, EchoOf(i), {}, "");
  }
  return out;
}

std::string CompletionResponder::OnEvent(size_t index, const GenerationEvent& event) {
  Choice& choice = choices_[index];
  std::string out;
  if (options_.return_progress && event.tokens.empty() && !event.finish && event.prefilled_tokens > 0) {
    out += SseData(ProgressChunk(options_.head, event.prefilled_tokens, options_.prompt_tokens));
  }
  choice.text += event.text;
  if (options_.logprobs) choice.tokens.insert(choice.tokens.end(), event.tokens.begin(), event.tokens.end());
  const bool has_logprobs = options_.logprobs && !event.tokens.empty();
  if (!event.text.empty() || has_logprobs) out += Chunk(index, event.text, event.tokens, "");
  if (!event.finish) return out;
  choice.finish = FinishText(*event.finish);
  choice.usage = event.usage;
  return out + Chunk(index, "", {}, choice.finish);
}

AnswerUsage CompletionResponder::Usage() const {
  AnswerUsage usage;
  for (size_t i = 0; i < choices_.size(); ++i) {
    usage.Add(choices_[i].usage, i % static_cast<size_t>(options_.choices_per_prompt) == 0);
  }
  return usage;
}

std::string CompletionResponder::Tail() {
  std::string out;
  if (options_.include_usage) {
    JsonWriter json = BeginAnswer(options_.head, options_.head.object);
    json.Key("choices").BeginArray().EndArray();
    WriteUsage(json, Usage());
    WriteContext(json, options_.context);
    out = SseData(json.EndObject().Take());
  }
  return out + SseData("[DONE]");
}

std::string CompletionResponder::Body() {
  JsonWriter json = BeginAnswer(options_.head, options_.head.object);
  json.Key("choices").BeginArray();
  for (size_t i = 0; i < choices_.size(); ++i) {
    json.BeginObject().Field("index", i).Field("text", EchoOf(i) + choices_[i].text).Key("logprobs");
    int64_t offset = 0;
    if (options_.logprobs) {
      WriteLogprobs(json, choices_[i].tokens, &offset);
    } else {
      json.Null();
    }
    json.Field("finish_reason", choices_[i].finish).EndObject();
  }
  json.EndArray();
  WriteUsage(json, Usage());
  WriteContext(json, options_.context);
  WriteTimings(json, choices_[0].usage);
  return json.EndObject().Take();
}

std::string PlainResponder::OnEvent(size_t, const GenerationEvent& event) {
  text_ += event.text;
  return event.text.empty() ? std::string() : SseData(event.text);
}

std::string PlainResponder::Body() { return JsonWriter().BeginObject().Field("text", text_).EndObject().Take(); }

}  // namespace inkstone

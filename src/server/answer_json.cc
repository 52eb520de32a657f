#include "server/answer_json.h"

#include <chrono>
#include <cmath>

namespace inkstone {
namespace {

void WriteTokenLogprob(JsonWriter& json, int32_t token, float logprob, const Tokenizer& tokenizer) {
  const std::string_view bytes = tokenizer.TokenBytes(token);
  json.Field("token", bytes).Field("logprob", JsonLogprob(logprob)).Key("bytes").BeginArray();
  for (const char byte : bytes) json.Value(static_cast<int>(static_cast<unsigned char>(byte)));
  json.EndArray();
}

double PerSecond(int64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }

}  // namespace

JsonWriter BeginAnswer(const AnswerHead& head, const std::string& object) {
  JsonWriter json;
  json.BeginObject().Field("id", head.id).Field("object", object).Field("created", head.created);
  json.Field("model", head.model).Field("system_fingerprint", head.fingerprint);
  return json;
}

void AnswerUsage::Add(const GenerationUsage& usage, bool first_of_prompt) {
  completion_tokens += usage.generated_tokens;
  if (!first_of_prompt) return;
  prompt_tokens += usage.prompt_tokens;
  cached_tokens += usage.cached_tokens;
}

void WriteUsage(JsonWriter& json, const AnswerUsage& usage) {
  json.Key("usage").BeginObject();
  json.Field("prompt_tokens", usage.prompt_tokens).Field("completion_tokens", usage.completion_tokens);
  json.Field("total_tokens", usage.prompt_tokens + usage.completion_tokens);
  json.Key("prompt_tokens_details").BeginObject().Field("cached_tokens", usage.cached_tokens).EndObject();
  json.EndObject();
}

void WriteTimings(JsonWriter& json, const GenerationUsage& usage) {
  const int64_t prompt = usage.prompt_tokens - usage.cached_tokens;
  json.Key("timings").BeginObject();
  json.Field("cache_n", usage.cached_tokens).Field("prompt_n", prompt);
  json.Field("prompt_ms", usage.prefill_seconds * 1e3);
  json.Field("prompt_per_second", PerSecond(prompt, usage.prefill_seconds));
  json.Field("predicted_n", usage.generated_tokens).Field("predicted_ms", usage.decode_seconds * 1e3);
  json.Field("predicted_per_second", PerSecond(usage.generated_tokens, usage.decode_seconds));
  json.Field("queue_ms", usage.queue_seconds * 1e3).EndObject();
}

void WriteContext(JsonWriter& json, const ContextReport& context) {
  json.Key("context").BeginObject().Field("policy", context.policy.Name());
  json.Field("dropped_messages", context.dropped.messages).Field("dropped_tokens", context.dropped.tokens).EndObject();
}

const char* FinishText(FinishReason reason) { return reason == FinishReason::kLength ? "length" : "stop"; }

float JsonLogprob(float logprob) { return std::isfinite(logprob) ? logprob : -9999.0f; }

void WriteChatLogprobs(JsonWriter& json, const std::vector<GeneratedToken>& tokens, const Tokenizer& tokenizer) {
  json.BeginObject().Key("content").BeginArray();
  for (const GeneratedToken& token : tokens) {
    json.BeginObject();
    WriteTokenLogprob(json, token.token, token.logprob, tokenizer);
    json.Key("top_logprobs").BeginArray();
    for (const TokenLogprob& top : token.top) {
      json.BeginObject();
      WriteTokenLogprob(json, top.token, top.logprob, tokenizer);
      json.EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray().Key("refusal").Null().EndObject();
}

std::string ProgressChunk(const AnswerHead& head, int64_t processed, int64_t total) {
  JsonWriter json = BeginAnswer(head, head.object);
  json.Key("choices").BeginArray().EndArray();
  json.Key("prompt_progress").BeginObject().Field("total", total).Field("processed", processed).EndObject();
  return json.EndObject().Take();
}

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace inkstone

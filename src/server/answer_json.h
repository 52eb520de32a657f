// Parts that the answers of several endpoints share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "chat/context_policy.h"
#include "engine/request.h"
#include "server/json_writer.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {

// Facts that stand in every chunk of an answer.
struct AnswerHead {
  std::string id;
  std::string object;   // "chat.completion.chunk"
  int64_t created = 0;  // seconds since 1970
  std::string model;
  std::string fingerprint;
};
// Opens the object and writes these fields; the caller goes on and ends it.
JsonWriter BeginAnswer(const AnswerHead& head, const std::string& object);

// Sums over all choices; a prompt that several choices share counts once.
struct AnswerUsage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
  // `first_of_prompt`: this choice is the first of its prompt.
  void Add(const GenerationUsage& usage, bool first_of_prompt);
};
void WriteUsage(JsonWriter& json, const AnswerUsage& usage);
// llama-server's "timings": counts, milliseconds and rates.
void WriteTimings(JsonWriter& json, const GenerationUsage& usage);

// "context": {"policy", "dropped_messages", "dropped_tokens"}
struct ContextReport {
  ContextPolicy policy;  // that was applied
  ContextDrop dropped;
};
void WriteContext(JsonWriter& json, const ContextReport& context);

const char* FinishText(FinishReason reason);  // "stop" or "length"
// OpenAI writes -9999 for what JSON has no number for.
float JsonLogprob(float logprob);
// {"token","logprob","bytes","top_logprobs"} objects, of a chat answer.
void WriteChatLogprobs(JsonWriter& json, const std::vector<GeneratedToken>& tokens, const Tokenizer& tokenizer);
// An event's data with progress of the prompt: {"prompt_progress":{"total","processed","cache"}} within an answer.
std::string ProgressChunk(const AnswerHead& head, int64_t processed, int64_t total);

int64_t UnixSeconds();

}  // namespace inkstone

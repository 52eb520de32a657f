// What a caller asks of the engine and what comes back.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "engine/shared_list.h"
#include "engine/stop_matcher.h"

namespace inkstone {

// Defaults are neutral: with them, sampling follows the model's own distribution.
struct SamplingParams {
  float temperature = 1.0f;         // 0: greedy
  int top_k = 0;                    // 0: off
  float top_p = 1.0f;               // nucleus (Holtzman et al. 2020); 1: off
  float min_p = 0.0f;               // keeps tokens at least min_p as likely as the likeliest; 0: off
  float typical_p = 1.0f;           // locally typical sampling (Meister et al. 2023); 1: off
  float repetition_penalty = 1.0f;  // CTRL (Keskar et al. 2019), over prompt and answer; 1: off
  float presence_penalty = 0.0f;    // OpenAI's, over the answer
  float frequency_penalty = 0.0f;   // OpenAI's, over the answer
  int penalty_window = 0;           // newest tokens that repetition_penalty looks at; 0: all
  SharedList<std::pair<int32_t, float>> logit_bias = {};  // added to the logit; -100 and below bans
  std::optional<uint64_t> seed = {};  // the same seed gives the same text; drawn at random when not set

  // Names the field, the range and what was found.
  Status Validate(int32_t vocab) const;
};

struct GenerationRequest {
  std::vector<int32_t> prompt = {};  // at least one token
  SamplingParams sampling = {};
  int64_t max_tokens = -1;               // -1: until the context is full
  StopSet stop = {};                     // the answer ends before the first of these; found across token borders
  SharedList<int32_t> stop_tokens = {};  // end the answer as the model's own stop tokens do
  int64_t min_tokens = 0;                // before so many nothing but max_tokens ends the answer
  bool ignore_eos = false;               // go on after the model's stop tokens (benchmarks)
  bool keep_special = false;             // special tokens appear in the text
  int top_logprobs = -1;                 // -1: none; 0: of the token; n: and of the n likeliest (at most 20)
  int priority = 0;                      // -100 to 100, larger first; waiting raises it slowly
  // Who sends it, for fairness and whose cached pages it finds: a key or an address; empty: nobody in particular.
  std::string origin = {};
  std::string client = {};    // on whose behalf, as the origin says
  int64_t shared_tokens = 0;  // of the prompt the first, a text that others may begin with too: PrefixShare::kSystem
  // From Submit; when it is over the request ends with kError and kDeadlineExceeded, whether it waits or runs.
  std::optional<std::chrono::milliseconds> deadline = {};
};

enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kError };

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;  // natural, of the model's distribution before any sampler
};

struct GeneratedToken {
  int32_t token = 0;
  float logprob = 0;              // valid when logprobs were asked for
  std::vector<TokenLogprob> top;  // likeliest first
};

struct GenerationUsage {
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  int64_t cached_tokens = 0;  // prompt tokens that needed no computation, in whole pages
  double queue_seconds = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

// One piece of news about a request. Text is complete UTF-8; stop strings never appear in it, nor does a part of one
// that could still become one. Tokens are those whose text became complete with this event.
struct GenerationEvent {
  std::string text;
  std::vector<GeneratedToken> tokens;
  int64_t prefilled_tokens = 0;        // so far, for progress; in whole pages before the prompt's end
  std::optional<FinishReason> finish;  // set on the last event
  std::string stop_string;             // the one that ended the answer, if one did
  Status status;                       // not OK with FinishReason::kError
  GenerationUsage usage;               // filled on the last event
};

// Called on the engine thread, in order, never after the event with `finish`; must not block, nor start threads, which
// would share the engine thread's core.
using EventSink = std::function<void(GenerationEvent&&)>;

}  // namespace inkstone

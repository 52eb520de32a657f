// From one row of logits to one token.
//
// Order of the steps, each on what the one before left over:
//   repetition penalty -> presence and frequency penalty -> bias -> temperature -> top-k -> top-p -> min-p -> typical
// Temperature comes first among the filters, as in Hugging Face's generate() and in vLLM: the values that models
// recommend in their generation_config.json were chosen with that order. (llama.cpp applies it last.) The bias comes
// after the penalties so that a ban holds.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/status.h"
#include "engine/random.h"
#include "engine/request.h"

namespace inkstone {

// Scratch that all sequences of one engine share; grows to the vocabulary once.
class SamplerWorkspace {
 public:
  explicit SamplerWorkspace(int32_t vocab);

 private:
  friend class Sampler;
  struct Candidate {
    int32_t token;
    float score;  // modified logit / temperature
    double p;     // exp(score - best score); not normalized
  };
  struct Saved {
    int32_t token;
    float logit;
  };

  std::vector<Candidate> candidates_;
  std::vector<Saved> saved_;      // logits as they were, in the order of their change
  std::vector<int32_t> counts_;   // by token; all zero between calls
  std::vector<int32_t> touched_;  // tokens with a count
};

class Sampler {
 public:
  // `params` have passed Validate for the vocabulary that the logits rows have.
  // The first `min_tokens` of an answer are none of `ends`, which are borrowed.
  Sampler(SamplingParams params, uint64_t seed, std::span<const int32_t> ends = {}, int64_t min_tokens = 0)
      : params_(std::move(params)), random_(seed), ends_(ends), min_tokens_(static_cast<size_t>(min_tokens)) {}

  // Draws the next token. logits: (vocab), changed while the call runs and restored on return. history: prompt and
  // answer so far, of which the first prompt_tokens are the prompt. Ties go to the lowest id. Allocates nothing once
  // the workspace has grown. kInternal when a logit is NaN or +infinity; kInvalidArgument when every token is banned.
  Result<int32_t> Sample(std::span<float> logits, std::span<const int32_t> history, size_t prompt_tokens,
                         SamplerWorkspace* workspace);

  const SamplingParams& params() const { return params_; }

 private:
  using Candidate = SamplerWorkspace::Candidate;

  void ApplyRepetition(std::span<float> logits, std::span<const int32_t> history, SamplerWorkspace* workspace) const;
  void ApplyPresence(std::span<float> logits, std::span<const int32_t> answer, SamplerWorkspace* workspace) const;
  void HoldBackEnds(std::span<float> logits, SamplerWorkspace* workspace) const;
  void ApplyBias(std::span<float> logits, SamplerWorkspace* workspace) const;
  Result<int32_t> Choose(std::span<const float> logits, SamplerWorkspace* workspace);
  void Gather(std::span<const float> logits, float best, std::vector<Candidate>* candidates) const;
  void KeepTopP(std::vector<Candidate>* candidates) const;
  void KeepMinP(std::vector<Candidate>* candidates) const;
  void KeepTypical(std::vector<Candidate>* candidates) const;
  int32_t Draw(std::span<const Candidate> candidates);

  SamplingParams params_;
  Random random_;
  std::span<const int32_t> ends_;
  size_t min_tokens_;
};

// The token's log-probability in the distribution of `logits` (temperature 1, no sampler; log-softmax in double), and
// those of the `top` likeliest tokens with an id below `vocab`, likeliest first, ties by id.
GeneratedToken MakeGeneratedToken(std::span<const float> logits, int32_t token, int top, int32_t vocab);

}  // namespace inkstone

// Perplexity of a model over a text, and how far its distribution is from a reference model's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "core/status.h"
#include "core/thread_pool.h"
#include "model/runtime.h"

namespace inkstone {

struct EvaluateOptions {
  int64_t window = 512;          // tokens per window; windows do not overlap and share no context
  int64_t max_windows = 0;       // 0: all whole windows (one shorter window if the text has no whole one)
  DType kv_type = DType::kF16;   // of the model; the reference always has F16
  Phase phase = Phase::kPrompt;  // whose kernels compute the model; the reference is always computed as a prompt
};

// Kullback-Leibler divergence KL(reference || model) in nats over the scored positions.
struct Divergence {
  double mean = 0;
  double median = 0;
  double p99 = 0;
  double top1_agreement = 0;  // share of positions where both prefer the same token
  double reference_perplexity = 0;
};

struct Evaluation {
  double perplexity = 0;
  double loss = 0;     // mean negative log-likelihood, nats
  int64_t scored = 0;  // predictions: every token of a window but its first
  std::optional<Divergence> divergence;
};

// Rows of logits that evaluation asks for at once: load the models with at least these limits.
inline constexpr int64_t kEvaluateRows = 128;
ModelLimits EvaluateLimits(const EvaluateOptions& options);

// progress(done, total) counts tokens. Errors: kInvalidArgument (fewer than two tokens, vocabularies that differ).
Result<Evaluation> Evaluate(std::span<const int32_t> tokens, LoadedModel& model, LoadedModel* reference,
                            Runtime& runtime, const EvaluateOptions& options,
                            FunctionRef<void(int64_t done, int64_t total)> progress);

}  // namespace inkstone

// Perplexity of a model over texts, and how far its distribution is from a reference model's.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "compress/divergence.h"
#include "compress/evaluation_windows.h"
#include "compress/reference_logits.h"
#include "core/status.h"
#include "core/thread_pool.h"
#include "model/runtime.h"

namespace inkstone {

// Rows of logits that evaluation asks for at once: load the models with at least these limits.
inline constexpr int64_t kEvaluateRows = 128;
ModelLimits EvaluateLimits(int64_t window);

// Nothing, a model that runs beside the candidate, or what one has left in a complete file.
using Reference = std::variant<std::monostate, LoadedModel*, const ReferenceLogits*>;

struct EvaluateOptions {
  KvTypes kv_types = {};         // of the model; a reference always has F16
  Phase phase = Phase::kPrompt;  // whose kernels compute the model; a reference is always computed as a prompt
  Reference reference;
};

struct EvaluationReport {
  Evaluation all;                 // over the positions of all texts
  std::vector<Evaluation> texts;  // of each
};

// progress(rows) is called with the scored positions finished since the last call.
using EvaluateProgress = FunctionRef<void(int64_t rows)>;

// Errors: kInvalidArgument (vocabularies that differ, a token outside the vocabulary), kDataLoss (logits that are not
// finite: names the position; a damaged file of reference logits).
Result<EvaluationReport> Evaluate(const EvaluationWindows& windows, LoadedModel& model, Runtime& runtime,
                                  const EvaluateOptions& options, EvaluateProgress progress);

// Computes the windows that `logits` still lacks, each with `model` and its own runtime. Errors as above, and
// kResourceExhausted for a full disk; what was written stays, to be continued.
Status RecordReference(const EvaluationWindows& windows, LoadedModel& model, Runtime& runtime, ReferenceLogits* logits,
                       EvaluateProgress progress);

}  // namespace inkstone

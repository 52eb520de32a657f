// A loaded model: one ragged step at a time from tokens to logits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backends/backend.h"
#include "core/status.h"
#include "formats/checkpoint.h"
#include "kvcache/page_pool.h"
#include "model/config.h"

namespace inkstone {

// Which of a sequence's new rows need logits. The output matrix runs in the sequence's phase; for kLast as in decoding.
enum class LogitRows : uint8_t { kNone, kLast, kAll };

// One sequence's part of a step.
struct SequenceStep {
  std::span<const int32_t> tokens;   // new tokens, at least one
  int64_t first_position = 0;        // of tokens[0]; the earlier positions are in the cache
  const PageTable* pages = nullptr;  // has capacity for first_position + tokens.size()
  Phase phase = Phase::kDecode;
  LogitRows logits = LogitRows::kLast;
};

struct ModelLimits {
  int64_t max_step_rows = 512;   // new tokens in one step, all sequences together
  int64_t max_logit_rows = 512;  // rows with logits in one step
  int64_t max_sequences = 16;    // in one step
  int64_t max_context = 8192;    // positions of one sequence
  int page_tokens = 32;          // of the KV pages it will be given
};

// Weights stay in the mapped checkpoint, which must outlive the model, as must the backend.
class Model {
 public:
  // kUnimplemented for an unknown architecture; kDataLoss / kNotFound when a tensor is missing or has a wrong shape.
  static Result<std::unique_ptr<Model>> Load(const Checkpoint& checkpoint, Backend& backend, const ModelLimits& limits);
  // Reads and checks the configuration only.
  static Result<ModelConfig> ReadConfig(const Checkpoint& checkpoint);
  // Bytes of activations that a loaded model holds beside its weights.
  static size_t ActivationBytes(const ModelConfig& config, const Backend& backend, const ModelLimits& limits);

  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const ModelLimits& limits() const = 0;
  // The memory of its activations, the backend's apart.
  virtual std::span<const std::byte> workspace() const { return {}; }

  // Runs one step: writes the new keys and values to the sequences' pages, and the logits of the rows asked for, in
  // order, to `logits` (rows asked for, vocab). Sequences of the prompt phase come first. kInvalidArgument when a token
  // id, a limit or a page table does not fit; kDataLoss when spilled pages could not be read: then the same step can be
  // run again. Allocates nothing.
  virtual Status Forward(std::span<const SequenceStep> sequences, std::span<float> logits) = 0;

  // Forward in parts, for work that looks between the layers. `hidden` is the residual stream, (tokens of all
  // sequences, hidden); every row keeps its place. Errors as in Forward, and kUnimplemented of a model that does not
  // run in parts.
  virtual Status Embed(std::span<const SequenceStep> sequences, Rows hidden);
  // Layers [first, last), in place. Keys and values of these layers are written. The last layer of the model leaves the
  // rows whose logits are asked for, in order, at the front of `hidden`, and nothing of use behind them.
  virtual Status RunLayers(int first, int last, std::span<const SequenceStep> sequences, Rows hidden);
  // Logits of rows after the last layer, (hidden.rows, vocab); at most max_logit_rows. As Forward does it: the output
  // matrix of a prompt's lone last row runs in the decode phase.
  virtual Status ComputeLogits(Rows hidden, Phase phase, std::span<float> logits);
};

}  // namespace inkstone

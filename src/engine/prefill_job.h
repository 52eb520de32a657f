// A chunk of prompts on its way through the model's layers, a few at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "core/status.h"
#include "engine/sequence.h"
#include "model/model.h"

namespace inkstone {

class PrefillJob {
 public:
  struct Part {
    Sequence* sequence;  // tokens from its `computed` on; they do not change meanwhile
    int64_t rows;
    bool wants_logits;  // of the last row
  };

  // For chunks of at most `max_rows` tokens. The model is borrowed.
  static Result<PrefillJob> Create(Model& model, Backend& backend, int64_t max_rows);
  // Bytes that Create takes.
  static size_t BufferBytes(const ModelConfig& config, int64_t max_rows);

  bool active() const { return !parts_.empty(); }
  bool done() const { return next_layer_ == model_->config().layers; }  // with all layers
  const std::vector<Part>& parts() const { return parts_; }
  int64_t rows() const { return rows_; }
  std::span<const std::byte> buffer() const { return {hidden_.data(), hidden_.size()}; }

  void Begin(std::span<const Part> parts);
  // The next layer; before the first, the embedding too.
  Status RunLayer();
  // A sequence leaves; the others go on.
  void Drop(const Sequence* sequence);
  // When done: logits of the parts that want them, in order, (such parts, vocab).
  Status Logits(std::span<float> logits);
  void Clear();

 private:
  PrefillJob(Model& model, DeviceBuffer hidden) : model_(&model), hidden_(std::move(hidden)) {}
  Rows Hidden(int64_t rows) const;

  Model* model_;
  DeviceBuffer hidden_;  // (max_rows, hidden), f32: the residual stream of the parts in order
  std::vector<Part> parts_;
  std::vector<SequenceStep> steps_;  // parts_, as the model wants them
  int64_t rows_ = 0;
  int next_layer_ = 0;
};

}  // namespace inkstone

#include "engine/prefill_job.h"

#include <algorithm>

namespace inkstone {

size_t PrefillJob::BufferBytes(const ModelConfig& config, int64_t max_rows) {
  return static_cast<size_t>(max_rows * config.hidden) * sizeof(float);
}

Result<PrefillJob> PrefillJob::Create(Model& model, Backend& backend, int64_t max_rows) {
  INK_ASSIGN_OR_RETURN(DeviceBuffer hidden, backend.Allocate(BufferBytes(model.config(), max_rows)));
  return PrefillJob(model, std::move(hidden));
}

Rows PrefillJob::Hidden(int64_t rows) const {
  const int64_t cols = model_->config().hidden;
  return {reinterpret_cast<float*>(hidden_.data()), rows, cols, cols};
}

void PrefillJob::Begin(std::span<const Part> parts) {
  parts_.assign(parts.begin(), parts.end());
  steps_.clear();
  rows_ = 0;
  next_layer_ = 0;
  for (const Part& part : parts_) {
    const Sequence& s = *part.sequence;
    const auto tokens =
        std::span<const int32_t>(s.tokens).subspan(static_cast<size_t>(s.computed), static_cast<size_t>(part.rows));
    steps_.push_back(
        {tokens, s.computed, &s.pages, Phase::kPrompt, part.wants_logits ? LogitRows::kLast : LogitRows::kNone});
    rows_ += part.rows;
  }
}

Status PrefillJob::RunLayer() {
  const Rows hidden = Hidden(rows_);
  if (next_layer_ == 0) INK_RETURN_IF_ERROR(model_->Embed(steps_, hidden));
  INK_RETURN_IF_ERROR(model_->RunLayers(next_layer_, next_layer_ + 1, steps_, hidden));
  ++next_layer_;
  return Status::Ok();
}

void PrefillJob::Drop(const Sequence* sequence) {
  const auto part = std::find_if(parts_.begin(), parts_.end(), [&](const Part& p) { return p.sequence == sequence; });
  if (part == parts_.end()) return;
  // After the last layer only rows with logits are left.
  const auto rows_of = [&](const Part& p) { return done() ? (p.wants_logits ? 1 : 0) : p.rows; };
  int64_t first = 0, after = 0;
  for (auto p = parts_.begin(); p != part; ++p) first += rows_of(*p);
  for (auto p = part + 1; p != parts_.end(); ++p) after += rows_of(*p);
  const Rows hidden = Hidden(first + rows_of(*part) + after);
  std::copy_n(hidden.row(first + rows_of(*part)), after * hidden.cols, hidden.row(first));
  rows_ -= part->rows;
  steps_.erase(steps_.begin() + (part - parts_.begin()));
  parts_.erase(part);
}

Status PrefillJob::Logits(std::span<float> logits) {
  const auto rows = std::count_if(parts_.begin(), parts_.end(), [](const Part& p) { return p.wants_logits; });
  return rows == 0 ? Status::Ok() : model_->ComputeLogits(Hidden(rows), Phase::kDecode, logits);
}

void PrefillJob::Clear() {
  parts_.clear();
  steps_.clear();
  rows_ = 0;
}

}  // namespace inkstone

#include "engine/step_budget.h"

#include <algorithm>

namespace inkstone {
namespace {

constexpr double kMostPressure = 8;    // however many prompts wait
constexpr double kMostStretch = 9;     // a share of 0.9
constexpr double kAloneSeconds = 0.1;  // with nothing to decode: until the queue is looked at again
constexpr double kWeightOfNewest = 0.2;
constexpr int64_t kLeastRows = 16;

}  // namespace

void StepBudget::OnDecode(double seconds) {
  decode_seconds_ = decode_seconds_ == 0 ? seconds : decode_seconds_ + kWeightOfNewest * (seconds - decode_seconds_);
}

void StepBudget::OnChunk(int64_t rows) {
  rows_ = rows;
  layers_ = 0;
}

void StepBudget::OnLayer(double seconds) {
  if (layers_ == 0) layer_seconds_ = 0;
  ++layers_;
  layer_seconds_ += (seconds - layer_seconds_) / layers_;
}

double StepBudget::Allowance(const StepLoad& load) const {
  if (load.decoding == 0) return kAloneSeconds;
  const double pressure = std::clamp(static_cast<double>(load.pending) / load.decoding, 1.0, kMostPressure);
  return std::min(kMostStretch, stretch_ * pressure) * decode_seconds_;
}

int64_t StepBudget::ChunkRows(const StepLoad& load) const {
  if (load.decoding == 0) return max_rows_;
  if (layer_seconds_ <= 0) return std::min(max_rows_, kLeastRows);
  // A layer costs something whatever its rows, so this grows towards the right number step by step. It shrinks at once:
  // after a time without decoding, chunks have been as long as can be.
  const double fitting = static_cast<double>(rows_) * Allowance(load) / layer_seconds_;
  const double bounded = std::min(fitting, static_cast<double>(rows_) * 2);
  const int64_t rows = static_cast<int64_t>(bounded) / kLeastRows * kLeastRows;
  return std::min(max_rows_, std::max(kLeastRows, rows));
}

bool StepBudget::MayRunLayer(const StepLoad& load, double spent) const {
  return spent == 0 || spent + layer_seconds_ <= Allowance(load);
}

}  // namespace inkstone

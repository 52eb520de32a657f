// Sensitivity, measured: what the output suffers when one matrix alone is in another type.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compress/calibration.h"
#include "compress/calibration_journal.h"
#include "compress/importance.h"
#include "compress/layer_pass.h"
#include "compress/sensitivity.h"
#include "core/status.h"
#include "formats/checkpoint.h"

namespace inkstone {

// Copies of the sample's residual stream, each with one matrix in another type. All go through the later layers
// together, so that each layer is read once.
class Probes {
 public:
  // All borrowed. Residual streams and the table are `state`'s; a fresh one is given the table's columns.
  Probes(const Checkpoint& checkpoint, LayerPass& pass, ThreadPool& threads, const CalibrationOptions& options,
         CalibrationState* state);

  // Whether the tensor can be in the probe's type.
  static bool Fits(const TensorInfo& tensor, const CalibrationOptions& options) {
    return tensor.shape.size() > 1 && tensor.cols() % Info(options.probe).block_elements == 0;
  }

  // Takes the memory that all probes need, before the first one and after `state` was replaced.
  void Reserve();
  // Begins a probe of a layer's matrix; `hidden` enters the layer.
  Status Begin(const TensorInfo& tensor, int layer, std::span<const float> hidden, const Importance& importance);
  // Through one more layer; calls done(rows) on the way.
  Status RunLayer(int layer, FunctionRef<void(int64_t)> done);
  // What the matrices that were begun cost; `hidden` is the sample's residual stream after the last layer. Calls done
  // after each.
  Status Finish(std::span<const float> hidden, FunctionRef<void()> done);
  // A matrix outside the layers, after Finish. `done` is called after each layer.
  Status Measure(const TensorInfo& tensor, const Importance& importance, FunctionRef<void(int64_t)> done);

 private:
  // Runs `use` while the matrix is in the probe's type.
  Status WithReplacement(const TensorInfo& tensor, const Importance& importance, FunctionRef<Status()> use);
  void AddRow(const TensorInfo& tensor, const Importance& importance);
  // The row's types cost in proportion to their weighted errors.
  void SetRow(size_t row, double measured);
  Result<double> Divergence(std::span<const float> hidden);

  const Checkpoint& checkpoint_;
  LayerPass& pass_;
  ThreadPool& threads_;
  const CalibrationOptions& options_;
  std::vector<float>& hidden_;             // (probes, sample, hidden)
  std::vector<float> reference_, logits_;  // of the sample
  SensitivityTable& table_;
};

}  // namespace inkstone

// Runs the 16-bit model over calibration text, layer by layer: what each matrix sees, and what the output suffers when
// one matrix drops to another type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/calibration_journal.h"
#include "compress/importance.h"
#include "compress/layer_pass.h"
#include "compress/sensitivity.h"
#include "core/dtype.h"
#include "core/status.h"

namespace inkstone {

struct CalibrationOptions {
  TextWindows sample;          // what sensitivity is measured on; without a token it is not measured
  DType probe = DType::kQ4_0;  // the type it is measured with; other types by the ratio of their weighted errors
  std::vector<DType> types;    // of the table
  // Keeps how far it is; borrowed, null: nothing does.
  CalibrationJournal* journal = nullptr;
  bool resume = false;  // go on from what the journal, which must be there, has
};

struct Calibration {
  Importance importance;          // of every matrix; of an embedding that is not the output matrix too, all alike
  SensitivityTable sensitivity;   // empty unless asked for
  std::vector<double> influence;  // (layers): 1 - mean cosine between what enters a layer and what leaves it
  int64_t resumed_layers = 0;     // that an interrupted calibration had gone through
};

// `done` of `total` steps. Deterministic: depends on neither threads nor their number.
using CalibrationProgress = FunctionRef<void(int64_t done, int64_t total)>;

// Errors: those of the model's forward pass and of CalibrationJournal; kDataLoss when activations are not finite.
Result<Calibration> Calibrate(const Checkpoint& checkpoint, LayerPass& pass, Runtime& runtime,
                              const TextWindows& windows, const CalibrationOptions& options,
                              CalibrationProgress progress);

}  // namespace inkstone

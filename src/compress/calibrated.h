// Compression that looks at the model at work: rounding weighted by what each matrix sees, error feedback, types chosen
// for a size, layers that can go.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "compress/calibration.h"
#include "compress/compress.h"
#include "compress/progress.h"
#include "compress/prune.h"
#include "core/status.h"

namespace inkstone {

struct CalibratedOptions {
  CompressOptions compress;  // its recipe is used without a size; the pins of the recipe always
  std::string text;          // calibration text, UTF-8
  std::string text_name;     // of it, kept in the metadata
  int64_t tokens = 16384;    // of the text that are used at most
  // At most one of the three.
  std::optional<uint64_t> size;           // bytes of the file, at most
  std::optional<double> bits_per_weight;  // of the whole file
  std::optional<double> share_of_16_bit;  // of the bytes that all weights have in 16 bits
  bool feedback = true;                   // error feedback across the columns of each matrix of a layer
  std::optional<PruneOptions> prune;
  std::string save_importance;  // imatrix file to write; empty: none
  std::string cpu;              // kernel target that runs the model; empty: the best
  // Time between two states of an unfinished calibration in its journal.
  std::chrono::nanoseconds journal_interval = std::chrono::minutes(1);
};

struct CalibratedReport {
  CompressReport file;
  SensitivityTable sensitivity;                // empty unless types were chosen
  std::vector<AllocationItem> items;           // what they were chosen from
  std::optional<double> predicted_divergence;  // of the choice
  std::optional<PrunePlan> prune;
  std::vector<double> influence;  // (layers of the source)
  int64_t tokens = 0;             // calibrated on
  size_t text_bytes = 0;          // of the text that the model has seen; what follows is unseen
  int64_t resumed_layers = 0;     // that an interrupted run had calibrated
};

// `progress` names the stage ("Calibrating", "Pruning", "Compressing") and counts in its own units.
struct StageProgress {
  const char* stage;
  uint64_t done;
  uint64_t total;
};

// Peak memory: the 16-bit layer at work, hidden values of `tokens`, and with feedback the second moments of one layer's
// inputs. "<output>.part.calibration" keeps what is known so far, as the part file of CompressAs does for tensors: with
// `compress.resume` the next run goes on from there. Errors: those of CompressAs and Calibrate; kInvalidArgument for
// text of less than a window;
// kResourceExhausted for a size below the smallest that the model can have; kDataLoss, before anything else is done,
// for a value that is not finite or beyond what types can hold.
Result<CalibratedReport> CompressCalibrated(const CalibratedOptions& options,
                                            FunctionRef<void(const StageProgress&)> progress);

}  // namespace inkstone

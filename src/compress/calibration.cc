#include "compress/calibration.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "compress/probes.h"
#include "model/tensor_loader.h"

namespace inkstone {
namespace {

// Whose hidden values before and after a layer are compared.
constexpr int64_t kInfluenceTokens = 2048;

// Sums of squares of what goes into each matrix.
class ImportanceCollector {
 public:
  ImportanceCollector(const LayerPass& pass, std::map<std::string, ChannelSums>* sums) : pass_(pass), sums_(*sums) {}

  void Add(Rows x, std::span<const MatMulTarget> targets) {
    std::vector<double> sums(static_cast<size_t>(x.cols));
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t c = 0; c < x.cols; ++c) {
        sums[static_cast<size_t>(c)] += static_cast<double>(x.row(r)[c]) * static_cast<double>(x.row(r)[c]);
      }
    }
    for (const MatMulTarget& target : targets) {
      ChannelSums& sum = sums_[pass_.NameOf(target.w.data)];
      sum.squares.resize(sums.size());
      for (size_t c = 0; c < sums.size(); ++c) sum.squares[c] += sums[c];
      sum.rows += x.rows;
    }
  }

  Result<Importance> Take() const {
    Importance importance;
    for (const auto& [name, sum] : sums_) {
      ChannelImportance& entry = importance[name];
      entry.tokens = sum.rows;
      for (size_t c = 0; c < sum.squares.size(); ++c) {
        if (!std::isfinite(sum.squares[c])) {
          return DataLoss("calibration: channel " + std::to_string(c) + " of what goes into '" + name +
                          "': expected finite values, found others");
        }
        entry.mean_square.push_back(static_cast<float>(sum.squares[c] / static_cast<double>(sum.rows)));
      }
    }
    return importance;
  }

 private:
  const LayerPass& pass_;
  std::map<std::string, ChannelSums>& sums_;
};

// 1 - mean cosine of rows: block influence (Men et al. 2024, "ShortGPT").
double Influence(std::span<const float> before, std::span<const float> after, int64_t cols) {
  double sum = 0;
  const int64_t rows = static_cast<int64_t>(before.size()) / cols;
  for (int64_t r = 0; r < rows; ++r) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t c = 0; c < cols; ++c) {
      const double a = static_cast<double>(before[static_cast<size_t>(r * cols + c)]);
      const double b = static_cast<double>(after[static_cast<size_t>(r * cols + c)]);
      ab += a * b;
      aa += a * a;
      bb += b * b;
    }
    sum += aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
  }
  return 1.0 - sum / static_cast<double>(rows);
}

class Calibrator {
 public:
  Calibrator(const Checkpoint& checkpoint, LayerPass& pass, Runtime& runtime, const CalibrationOptions& options,
             CalibrationProgress progress)
      : checkpoint_(checkpoint),
        pass_(pass),
        options_(options),
        progress_(progress),
        collector_(pass, &state_.sums),
        probes_(checkpoint, pass, runtime.threads(), options, &state_) {}

  Result<Calibration> Run(const TextWindows& windows);

 private:
  bool measures() const { return !options_.sample.tokens.empty(); }
  int64_t RowsPerLogits() const;
  int64_t TotalRows(const TextWindows& windows) const;
  // What the journal has, or the residual streams before the first layer.
  Status Begin(const TextWindows& windows);
  // kDataLoss where a state that was read is not one of this model and text.
  Status CheckState(const TextWindows& windows) const;
  Status RunLayers(const TextWindows& windows);
  // What comes after the last layer.
  Status RunEnds(const TextWindows& windows);
  Status RunWindows(int layer, const TextWindows& windows, std::span<float> hidden);
  // The probes of earlier layers go through this one, and those of its own matrices begin.
  Status ProbeLayer(int layer, std::span<float> sample);
  Status ProbeEnds(const Importance& importance);
  Status ObserveOutput(const TextWindows& windows, std::span<const float> hidden);
  void Done(int64_t rows) { progress_(state_.progress += rows, total_); }

  const Checkpoint& checkpoint_;
  LayerPass& pass_;
  const CalibrationOptions& options_;
  CalibrationProgress progress_;
  CalibrationState state_;  // progress: rows through layers
  ImportanceCollector collector_;
  Probes probes_;
  int64_t total_ = 0;  // of progress
};

// Rows through a layer that cost as much as the logits of one row.
int64_t Calibrator::RowsPerLogits() const {
  int64_t in_layers = 0;
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (LayerOf(tensor.name) >= 0 && tensor.shape.size() > 1) in_layers += tensor.rows() * tensor.cols();
  }
  const int64_t output = int64_t{pass_.config().vocab} * pass_.config().hidden;
  return in_layers == 0 ? 1 : output * pass_.config().layers / in_layers;
}

int64_t Calibrator::TotalRows(const TextWindows& windows) const {
  const int64_t layers = pass_.config().layers;
  const int64_t sample = static_cast<int64_t>(options_.sample.tokens.size());
  int64_t rows = layers * static_cast<int64_t>(windows.tokens.size());
  if (!measures()) return rows;
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (!Probes::Fits(tensor, options_)) continue;
    rows += sample * (layers - std::max(0, LayerOf(tensor.name)));
    if (LayerOf(tensor.name) >= 0) rows += sample * RowsPerLogits();
  }
  return rows;
}

Status Calibrator::RunWindows(int layer, const TextWindows& windows, std::span<float> hidden) {
  const int64_t cols = pass_.config().hidden;
  const auto compared = std::min(static_cast<std::ptrdiff_t>(hidden.size()), kInfluenceTokens * cols);
  const std::vector<float> before(hidden.begin(), hidden.begin() + compared);
  pass_.interception().observe = [&](Rows x, std::span<const MatMulTarget> targets) { collector_.Add(x, targets); };
  const Status status = pass_.RunLayer(layer, windows, hidden);
  pass_.interception().observe = nullptr;
  INK_RETURN_IF_ERROR(status);
  state_.influence.push_back(Influence(before, hidden.first(before.size()), cols));
  Done(static_cast<int64_t>(windows.tokens.size()));
  return Status::Ok();
}

Status Calibrator::ProbeLayer(int layer, std::span<float> sample) {
  INK_RETURN_IF_ERROR(probes_.RunLayer(layer, [&](int64_t rows) { Done(rows); }));
  INK_ASSIGN_OR_RETURN(const Importance importance, collector_.Take());
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (LayerOf(tensor.name) != layer || !Probes::Fits(tensor, options_)) continue;
    INK_RETURN_IF_ERROR(probes_.Begin(tensor, layer, sample, importance));
    Done(static_cast<int64_t>(options_.sample.tokens.size()));
  }
  return pass_.RunLayer(layer, options_.sample, sample);
}

Status Calibrator::ProbeEnds(const Importance& importance) {
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (LayerOf(tensor.name) >= 0 || !Probes::Fits(tensor, options_)) continue;
    INK_RETURN_IF_ERROR(probes_.Measure(tensor, importance, [&](int64_t rows) { Done(rows); }));
  }
  return Status::Ok();
}

// One window is enough for the output matrix: its input is normalized.
Status Calibrator::ObserveOutput(const TextWindows& windows, std::span<const float> hidden) {
  std::vector<float> logits(static_cast<size_t>(windows.window * pass_.config().vocab));
  pass_.interception().observe = [&](Rows x, std::span<const MatMulTarget> targets) { collector_.Add(x, targets); };
  Status status = pass_.Logits(hidden.first(static_cast<size_t>(windows.window * pass_.config().hidden)), logits);
  pass_.interception().observe = nullptr;
  return status;
}

Status Calibrator::CheckState(const TextWindows& windows) const {
  const auto is = [&](const std::vector<float>& values, size_t rows) {
    return values.size() == rows * static_cast<size_t>(pass_.config().hidden);
  };
  const size_t sample = options_.sample.tokens.size();
  const SensitivityTable& table = state_.table;
  bool fits = state_.layers >= 0 && state_.layers <= pass_.config().layers &&
              state_.influence.size() == static_cast<size_t>(state_.layers) && table.types == options_.types &&
              table.divergence.size() == table.tensors.size() * table.types.size();
  for (const auto& [name, sums] : state_.sums) {
    const TensorInfo* tensor = checkpoint_.Find(name);
    fits = fits && tensor != nullptr && sums.squares.size() == static_cast<size_t>(tensor->cols()) && sums.rows > 0;
  }
  if (state_.complete) {
    fits = fits && state_.layers == pass_.config().layers;
  } else {
    fits = fits && is(state_.hidden, windows.tokens.size()) && is(state_.sample, sample) &&
           is(state_.probes, table.tensors.size() * sample);
  }
  return fits ? Status::Ok() : DataLoss("calibration: the state to go on from is of another model or text");
}

Status Calibrator::Begin(const TextWindows& windows) {
  total_ = TotalRows(windows);
  if (options_.resume) {
    INK_ASSIGN_OR_RETURN(CalibrationState found, options_.journal->Read());
    if (found.layers > 0) {
      state_ = std::move(found);
      if (!state_.complete) probes_.Reserve();
      return CheckState(windows);
    }
  }
  probes_.Reserve();
  // A journal from the first moment on: whatever happens from now on can be resumed.
  if (options_.journal != nullptr) INK_RETURN_IF_ERROR(options_.journal->Write({}));
  const size_t cols = static_cast<size_t>(pass_.config().hidden);
  state_.hidden.resize(windows.tokens.size() * cols);
  state_.sample.resize(options_.sample.tokens.size() * cols);
  INK_RETURN_IF_ERROR(pass_.Embed(windows, state_.hidden));
  return measures() ? pass_.Embed(options_.sample, state_.sample) : Status::Ok();
}

Status Calibrator::RunLayers(const TextWindows& windows) {
  for (int layer = static_cast<int>(state_.layers); layer < pass_.config().layers; ++layer) {
    INK_RETURN_IF_ERROR(RunWindows(layer, windows, state_.hidden));
    if (measures()) INK_RETURN_IF_ERROR(ProbeLayer(layer, state_.sample));
    ++state_.layers;
    if (options_.journal != nullptr) INK_RETURN_IF_ERROR(options_.journal->WriteIfDue(state_));
  }
  return Status::Ok();
}

Status Calibrator::RunEnds(const TextWindows& windows) {
  INK_RETURN_IF_ERROR(ObserveOutput(windows, state_.hidden));
  state_.hidden = {};
  if (measures()) {
    const int64_t rows = static_cast<int64_t>(options_.sample.tokens.size()) * RowsPerLogits();
    INK_RETURN_IF_ERROR(probes_.Finish(state_.sample, [&] { Done(rows); }));
    INK_ASSIGN_OR_RETURN(const Importance importance, collector_.Take());
    INK_RETURN_IF_ERROR(ProbeEnds(importance));
  }
  state_.sample = {};
  state_.complete = true;
  return options_.journal == nullptr ? Status::Ok() : options_.journal->Write(state_);
}

Result<Calibration> Calibrator::Run(const TextWindows& windows) {
  INK_RETURN_IF_ERROR(Begin(windows));
  Calibration result;
  result.resumed_layers = state_.layers;
  INK_RETURN_IF_ERROR(RunLayers(windows));
  if (!state_.complete) INK_RETURN_IF_ERROR(RunEnds(windows));
  INK_ASSIGN_OR_RETURN(result.importance, collector_.Take());
  result.influence = std::move(state_.influence);
  if (measures()) result.sensitivity = std::move(state_.table);
  return result;
}

}  // namespace

Result<Calibration> Calibrate(const Checkpoint& checkpoint, LayerPass& pass, Runtime& runtime,
                              const TextWindows& windows, const CalibrationOptions& options,
                              CalibrationProgress progress) {
  if (windows.count() < 1) return InvalidArgument("calibration: expected text of at least one window");
  const ThreadBinding binding = runtime.threads().BindCaller();
  return Calibrator(checkpoint, pass, runtime, options, progress).Run(windows);
}

}  // namespace inkstone

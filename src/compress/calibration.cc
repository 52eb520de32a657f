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
  explicit ImportanceCollector(const LayerPass& pass) : pass_(pass) {}

  void Add(Rows x, std::span<const MatMulTarget> targets) {
    std::vector<double> sums(static_cast<size_t>(x.cols));
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t c = 0; c < x.cols; ++c) {
        sums[static_cast<size_t>(c)] += static_cast<double>(x.row(r)[c]) * static_cast<double>(x.row(r)[c]);
      }
    }
    for (const MatMulTarget& target : targets) {
      Sum& sum = sums_[pass_.NameOf(target.w.data)];
      sum.values.resize(sums.size());
      for (size_t c = 0; c < sums.size(); ++c) sum.values[c] += sums[c];
      sum.rows += x.rows;
    }
  }

  Result<Importance> Take() const {
    Importance importance;
    for (const auto& [name, sum] : sums_) {
      ChannelImportance& entry = importance[name];
      entry.tokens = sum.rows;
      for (size_t c = 0; c < sum.values.size(); ++c) {
        if (!std::isfinite(sum.values[c])) {
          return DataLoss("calibration: channel " + std::to_string(c) + " of what goes into '" + name +
                          "': expected finite values, found others");
        }
        entry.mean_square.push_back(static_cast<float>(sum.values[c] / static_cast<double>(sum.rows)));
      }
    }
    return importance;
  }

 private:
  struct Sum {
    std::vector<double> values;
    int64_t rows = 0;
  };
  const LayerPass& pass_;
  std::map<std::string, Sum> sums_;
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
        collector_(pass),
        probes_(checkpoint, pass, runtime.threads(), options) {}

  Result<Calibration> Run(const TextWindows& windows);

 private:
  bool measures() const { return !options_.sample.tokens.empty(); }
  int64_t RowsPerLogits() const;
  int64_t TotalRows(const TextWindows& windows) const;
  Status RunWindows(int layer, const TextWindows& windows, std::span<float> hidden);
  // The probes of earlier layers go through this one, and those of its own matrices begin.
  Status ProbeLayer(int layer, std::span<float> sample);
  Status ProbeEnds(const Importance& importance);
  Status ObserveOutput(const TextWindows& windows, std::span<const float> hidden);
  void Done(int64_t rows) { progress_(done_ += rows, total_); }

  const Checkpoint& checkpoint_;
  LayerPass& pass_;
  const CalibrationOptions& options_;
  CalibrationProgress progress_;
  ImportanceCollector collector_;
  Probes probes_;
  std::vector<double> influence_;
  int64_t done_ = 0, total_ = 0;  // rows through layers
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
  influence_.push_back(Influence(before, hidden.first(before.size()), cols));
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

Result<Calibration> Calibrator::Run(const TextWindows& windows) {
  const size_t cols = static_cast<size_t>(pass_.config().hidden);
  total_ = TotalRows(windows);
  std::vector<float> hidden(windows.tokens.size() * cols), sample(options_.sample.tokens.size() * cols);
  INK_RETURN_IF_ERROR(pass_.Embed(windows, hidden));
  if (measures()) INK_RETURN_IF_ERROR(pass_.Embed(options_.sample, sample));
  for (int layer = 0; layer < pass_.config().layers; ++layer) {
    INK_RETURN_IF_ERROR(RunWindows(layer, windows, hidden));
    if (measures()) INK_RETURN_IF_ERROR(ProbeLayer(layer, sample));
  }
  INK_RETURN_IF_ERROR(ObserveOutput(windows, hidden));
  Calibration result;
  result.influence = std::move(influence_);
  INK_ASSIGN_OR_RETURN(result.importance, collector_.Take());
  if (!measures()) return result;
  hidden = {};
  const int64_t rows = static_cast<int64_t>(options_.sample.tokens.size()) * RowsPerLogits();
  INK_RETURN_IF_ERROR(probes_.Finish(sample, [&] { Done(rows); }));
  INK_RETURN_IF_ERROR(ProbeEnds(result.importance));
  result.sensitivity = probes_.Take();
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

#include "compress/calibration.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "compress/divergence.h"
#include "compress/tensor_error.h"
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

// Mean over rows of KL(reference || model); both hold logits, (rows, vocab).
double MeanDivergence(std::span<const float> reference, std::span<const float> model, int64_t vocab,
                      ThreadPool& threads) {
  const size_t width = static_cast<size_t>(vocab);
  std::vector<double> kl(reference.size() / width);
  threads.ParallelFor(static_cast<int64_t>(kl.size()), 1, [&](int64_t row, int64_t, int) {
    const size_t i = static_cast<size_t>(row);
    kl[i] = ScoreRow(model.subspan(i * width, width), reference.subspan(i * width, width), 0).divergence;
  });
  return std::accumulate(kl.begin(), kl.end(), 0.0) / static_cast<double>(kl.size());
}

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
      : checkpoint_(checkpoint), pass_(pass), threads_(runtime.threads()), options_(options), progress_(progress) {}

  Result<Calibration> Run(const TextWindows& windows);

 private:
  Status RunLayers(int first, std::span<float> hidden);
  // Divergence of the sample when `tensor` is encoded in the probe type; `hidden` enters layer `first`.
  Result<double> Probe(const TensorInfo& tensor, const float* importance, int first, std::span<const float> hidden);
  Status MeasureLayer(int layer, std::span<const float> hidden, const Importance& importance);
  Status MeasureEnds(const Importance& importance);
  Status ComputeReference();
  size_t SampleValues() const { return options_.sample.tokens.size() * static_cast<size_t>(pass_.config().hidden); }
  Status AddRow(const TensorInfo& tensor, int first, std::span<const float> hidden, const Importance& importance);
  WeightView View(const TensorInfo& tensor) const {
    return {tensor.dtype, tensor.rows(), tensor.cols(), checkpoint_.Data(tensor).data()};
  }
  void Step() { progress_(++done_, total_); }

  const Checkpoint& checkpoint_;
  LayerPass& pass_;
  ThreadPool& threads_;
  const CalibrationOptions& options_;
  CalibrationProgress progress_;
  std::vector<float> reference_, logits_;  // of the sample
  SensitivityTable table_;
  int64_t done_ = 0, total_ = 0;
};

Status Calibrator::RunLayers(int first, std::span<float> hidden) {
  for (int layer = first; layer < pass_.config().layers; ++layer) {
    INK_RETURN_IF_ERROR(pass_.RunLayer(layer, options_.sample, hidden));
  }
  return Status::Ok();
}

Result<double> Calibrator::Probe(const TensorInfo& tensor, const float* importance, int first,
                                 std::span<const float> hidden) {
  const WeightView source = View(tensor);
  const std::vector<std::byte> encoded = EncodeMatrix(source, options_.probe, importance, threads_);
  auto& replacements = pass_.interception().replacements;
  replacements[source.data] = {options_.probe, source.rows, source.cols, encoded.data()};
  std::vector<float> values(hidden.begin(), hidden.end());
  Status status = Status::Ok();
  if (first == 0) status = pass_.Embed(options_.sample, values);  // the embedding may be what is replaced
  if (status.ok()) status = RunLayers(first, values);
  if (status.ok()) status = pass_.Logits(values, logits_);
  replacements.clear();
  if (!status.ok()) return status;
  return MeanDivergence(reference_, logits_, pass_.config().vocab, threads_);
}

Status Calibrator::AddRow(const TensorInfo& tensor, int first, std::span<const float> hidden,
                          const Importance& importance) {
  const auto found = importance.find(tensor.name);
  const float* weights = found == importance.end() ? nullptr : found->second.mean_square.data();
  if (tensor.cols() % Info(options_.probe).block_elements != 0) return Status::Ok();  // it stays in 16 bits
  INK_ASSIGN_OR_RETURN(const double measured, Probe(tensor, weights, first, hidden));
  const std::vector<double> errors = WeightedErrors(View(tensor), options_.types, weights, threads_);
  const std::vector<double> probe = WeightedErrors(View(tensor), {&options_.probe, 1}, weights, threads_);
  pass_.Release(tensor.name);
  table_.tensors.push_back(tensor.name);
  for (const double error : errors) {
    table_.divergence.push_back(static_cast<float>(probe[0] > 0 ? measured * error / probe[0] : 0.0 * error));
  }
  return Status::Ok();
}

Status Calibrator::MeasureLayer(int layer, std::span<const float> hidden, const Importance& importance) {
  const std::string prefix = BlockTensor(layer, "");
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (tensor.shape.size() < 2 || !tensor.name.starts_with(prefix)) continue;
    INK_RETURN_IF_ERROR(AddRow(tensor, layer, hidden, importance));
    Step();
  }
  return Status::Ok();
}

Status Calibrator::MeasureEnds(const Importance& importance) {
  std::vector<float> embedded(SampleValues());
  INK_RETURN_IF_ERROR(pass_.Embed(options_.sample, embedded));
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (tensor.shape.size() < 2 || tensor.name.starts_with("blk.")) continue;
    INK_RETURN_IF_ERROR(AddRow(tensor, 0, embedded, importance));
    Step();
  }
  return Status::Ok();
}

Status Calibrator::ComputeReference() {
  reference_.resize(options_.sample.tokens.size() * static_cast<size_t>(pass_.config().vocab));
  logits_.resize(reference_.size());
  table_.types = options_.types;
  table_.tokens = static_cast<int64_t>(options_.sample.tokens.size());
  std::vector<float> values(SampleValues());
  INK_RETURN_IF_ERROR(pass_.Embed(options_.sample, values));
  INK_RETURN_IF_ERROR(RunLayers(0, values));
  return pass_.Logits(values, reference_);
}

Result<Calibration> Calibrator::Run(const TextWindows& windows) {
  const int64_t cols = pass_.config().hidden, layers = pass_.config().layers;
  const bool measure = !options_.sample.tokens.empty();
  total_ = layers + 1;
  for (const TensorInfo& tensor : checkpoint_.tensors()) total_ += measure && tensor.shape.size() > 1 ? 1 : 0;
  if (measure) INK_RETURN_IF_ERROR(ComputeReference());

  std::vector<float> hidden(windows.tokens.size() * static_cast<size_t>(cols)), sample(SampleValues());
  INK_RETURN_IF_ERROR(pass_.Embed(windows, hidden));
  if (measure) INK_RETURN_IF_ERROR(pass_.Embed(options_.sample, sample));
  const size_t compared = std::min(hidden.size(), static_cast<size_t>(kInfluenceTokens * cols));
  ImportanceCollector collector(pass_);
  const auto observe = [&](Rows x, std::span<const MatMulTarget> targets) { collector.Add(x, targets); };
  Calibration result;
  for (int layer = 0; layer < layers; ++layer) {
    const std::vector<float> before(hidden.begin(), hidden.begin() + static_cast<std::ptrdiff_t>(compared));
    pass_.interception().observe = observe;
    INK_RETURN_IF_ERROR(pass_.RunLayer(layer, windows, hidden));
    pass_.interception().observe = nullptr;
    result.influence.push_back(Influence(before, std::span(hidden).first(compared), cols));
    Step();
    if (!measure) continue;
    INK_ASSIGN_OR_RETURN(const Importance so_far, collector.Take());
    INK_RETURN_IF_ERROR(MeasureLayer(layer, sample, so_far));
    INK_RETURN_IF_ERROR(pass_.RunLayer(layer, options_.sample, sample));
  }
  // One window is enough for the output matrix: its input is normalized.
  std::vector<float> last(static_cast<size_t>(windows.window * pass_.config().vocab));
  pass_.interception().observe = observe;
  INK_RETURN_IF_ERROR(pass_.Logits(std::span(hidden).first(static_cast<size_t>(windows.window * cols)), last));
  pass_.interception().observe = nullptr;
  Step();
  INK_ASSIGN_OR_RETURN(result.importance, collector.Take());
  if (measure) INK_RETURN_IF_ERROR(MeasureEnds(result.importance));
  result.sensitivity = std::move(table_);
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

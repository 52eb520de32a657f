#include "compress/probes.h"

#include <algorithm>
#include <numeric>

#include "compress/divergence.h"
#include "compress/tensor_error.h"
#include "model/tensor_loader.h"

namespace inkstone {
namespace {

// Rows that go through a layer between two reports of progress.
constexpr int64_t kReportRows = 2048;

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

const float* WeightsOf(const TensorInfo& tensor, const Importance& importance) {
  const auto found = importance.find(tensor.name);
  return found == importance.end() ? nullptr : found->second.mean_square.data();
}

}  // namespace

Probes::Probes(const Checkpoint& checkpoint, LayerPass& pass, ThreadPool& threads, const CalibrationOptions& options,
               CalibrationState* state)
    : checkpoint_(checkpoint),
      pass_(pass),
      threads_(threads),
      options_(options),
      hidden_(state->probes),
      table_(state->table) {
  table_.types = options.types;
  table_.tokens = static_cast<int64_t>(options.sample.tokens.size());
}

void Probes::Reserve() {
  const auto in_layers = std::count_if(checkpoint_.tensors().begin(), checkpoint_.tensors().end(),
                                       [&](const auto& t) { return Fits(t, options_) && LayerOf(t.name) >= 0; });
  hidden_.reserve(options_.sample.tokens.size() * static_cast<size_t>(in_layers * pass_.config().hidden));
}

Status Probes::WithReplacement(const TensorInfo& tensor, const Importance& importance, FunctionRef<Status()> use) {
  const WeightView source = {tensor.dtype, tensor.rows(), tensor.cols(), checkpoint_.Data(tensor).data()};
  const auto encoded = EncodeMatrix(source, options_.probe, WeightsOf(tensor, importance), threads_);
  auto& replacements = pass_.interception().replacements;
  replacements[source.data] = {options_.probe, source.rows, source.cols, encoded.data()};
  Status status = use();
  replacements.clear();
  return status;
}

void Probes::AddRow(const TensorInfo& tensor, const Importance& importance) {
  const WeightView source = {tensor.dtype, tensor.rows(), tensor.cols(), checkpoint_.Data(tensor).data()};
  const float* weights = WeightsOf(tensor, importance);
  const std::vector<double> errors = WeightedErrors(source, options_.types, weights, threads_);
  const double probe = WeightedErrors(source, {&options_.probe, 1}, weights, threads_)[0];
  pass_.Release(tensor.name);
  table_.tensors.push_back(tensor.name);
  for (const double error : errors) {
    table_.divergence.push_back(static_cast<float>(probe > 0 ? error / probe : 0.0 * error));
  }
}

void Probes::SetRow(size_t row, double measured) {
  const size_t types = table_.types.size();
  for (float& value : std::span(table_.divergence).subspan(row * types, types)) {
    value = static_cast<float>(measured * static_cast<double>(value));
  }
}

Status Probes::Begin(const TensorInfo& tensor, int layer, std::span<const float> hidden, const Importance& importance) {
  const size_t begin = hidden_.size();
  hidden_.insert(hidden_.end(), hidden.begin(), hidden.end());
  const auto run = [&] { return pass_.RunLayer(layer, options_.sample, std::span(hidden_).subspan(begin)); };
  INK_RETURN_IF_ERROR(WithReplacement(tensor, importance, run));
  AddRow(tensor, importance);
  return Status::Ok();
}

Status Probes::RunLayer(int layer, FunctionRef<void(int64_t)> done) {
  const size_t sample = options_.sample.tokens.size(), cols = static_cast<size_t>(pass_.config().hidden);
  const size_t together = std::max<size_t>(1, static_cast<size_t>(kReportRows) / sample);
  TextWindows windows{{}, options_.sample.window};
  for (size_t first = 0; first < table_.tensors.size(); first += together) {
    const size_t count = std::min(together, table_.tensors.size() - first);
    windows.tokens.clear();
    for (size_t i = 0; i < count; ++i) {
      windows.tokens.insert(windows.tokens.end(), options_.sample.tokens.begin(), options_.sample.tokens.end());
    }
    INK_RETURN_IF_ERROR(pass_.RunLayer(
        layer, windows, std::span(hidden_).subspan(first * sample * cols, windows.tokens.size() * cols)));
    done(static_cast<int64_t>(windows.tokens.size()));
  }
  return Status::Ok();
}

Result<double> Probes::Divergence(std::span<const float> hidden) {
  INK_RETURN_IF_ERROR(pass_.Logits(hidden, logits_));
  return MeanDivergence(reference_, logits_, pass_.config().vocab, threads_);
}

Status Probes::Finish(std::span<const float> hidden, FunctionRef<void()> done) {
  reference_.resize(options_.sample.tokens.size() * static_cast<size_t>(pass_.config().vocab));
  logits_.resize(reference_.size());
  INK_RETURN_IF_ERROR(pass_.Logits(hidden, reference_));
  for (size_t row = 0; row < table_.tensors.size(); ++row) {
    INK_ASSIGN_OR_RETURN(const double measured,
                         Divergence(std::span(hidden_).subspan(row * hidden.size(), hidden.size())));
    SetRow(row, measured);
    done();
  }
  hidden_ = {};
  return Status::Ok();
}

Status Probes::Measure(const TensorInfo& tensor, const Importance& importance, FunctionRef<void(int64_t)> done) {
  std::vector<float> values(options_.sample.tokens.size() * static_cast<size_t>(pass_.config().hidden));
  double measured = 0;
  const Status status = WithReplacement(tensor, importance, [&]() -> Status {
    INK_RETURN_IF_ERROR(pass_.Embed(options_.sample, values));
    for (int layer = 0; layer < pass_.config().layers; ++layer) {
      INK_RETURN_IF_ERROR(pass_.RunLayer(layer, options_.sample, values));
      done(static_cast<int64_t>(options_.sample.tokens.size()));
    }
    INK_ASSIGN_OR_RETURN(measured, Divergence(values));
    return Status::Ok();
  });
  INK_RETURN_IF_ERROR(status);
  AddRow(tensor, importance);
  SetRow(table_.tensors.size() - 1, measured);
  return Status::Ok();
}

}  // namespace inkstone

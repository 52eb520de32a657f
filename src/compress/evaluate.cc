#include "compress/evaluate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace inkstone {
namespace {

// A model with a cache of its own for one window, and the logits of one chunk.
class WindowRunner {
 public:
  static Result<WindowRunner> Create(LoadedModel& model, const EvaluateOptions& options, DType kv_type, Phase phase) {
    INK_ASSIGN_OR_RETURN(const KvLayout layout, model.model->config().KvLayoutFor(kv_type));
    INK_ASSIGN_OR_RETURN(PagePool pool, PagePool::Create(*model.backend, layout, layout.PagesFor(options.window)));
    return WindowRunner(model.model.get(), std::move(pool), phase);
  }

  // Logits of tokens [begin, begin + count) of the window, (count, vocab).
  Result<std::span<const float>> Chunk(std::span<const int32_t> window, int64_t begin, int64_t count) {
    PageTable& table = *table_;
    INK_RETURN_IF_ERROR(table.Reserve(begin + count));
    const SequenceStep step{window.subspan(static_cast<size_t>(begin), static_cast<size_t>(count)), begin, &table,
                            phase_, LogitRows::kAll};
    INK_RETURN_IF_ERROR(model_->Forward({&step, 1}, logits_));
    return std::span<const float>(logits_).first(static_cast<size_t>(count * vocab()));
  }
  int64_t vocab() const { return model_->config().vocab; }

 private:
  WindowRunner(Model* model, PagePool pool, Phase phase)
      : model_(model),
        phase_(phase),
        pool_(std::make_unique<PagePool>(std::move(pool))),
        table_(std::make_unique<PageTable>(pool_.get())),
        logits_(static_cast<size_t>(kEvaluateRows * model->config().vocab)) {}

  Model* model_;
  Phase phase_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PageTable> table_;
  std::vector<float> logits_;
};

struct RowStatistics {
  double max = 0;
  double log_sum = 0;  // log of the sum of exp(logit)
  int32_t top = 0;
};

RowStatistics Statistics(const float* logits, int64_t vocab) {
  RowStatistics s;
  s.top = static_cast<int32_t>(std::max_element(logits, logits + vocab) - logits);
  s.max = static_cast<double>(logits[s.top]);
  double sum = 0;
  for (int64_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(logits[i]) - s.max);
  s.log_sum = s.max + std::log(sum);
  return s;
}

double KlDivergence(const float* reference, const RowStatistics& r, const float* model, const RowStatistics& m,
                    int64_t vocab) {
  double kl = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    const double log_p = static_cast<double>(reference[i]) - r.log_sum;
    kl += std::exp(log_p) * (log_p - (static_cast<double>(model[i]) - m.log_sum));
  }
  return std::max(kl, 0.0);  // rounding can leave a tiny negative value
}

// Per-position results, filled by several threads at disjoint places.
struct Scores {
  std::vector<double> loss;
  std::vector<double> reference_loss;
  std::vector<double> kl;
  std::vector<uint8_t> same_top;

  void Resize(size_t n) {
    loss.resize(n);
    reference_loss.resize(n);
    kl.resize(n);
    same_top.resize(n);
  }
};

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double Quantile(std::vector<double> values, double q) {
  const size_t index = std::min(values.size() - 1, static_cast<size_t>(q * static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index), values.end());
  return values[index];
}

Evaluation Summarize(const Scores& scores, bool with_reference) {
  Evaluation e;
  e.loss = Mean(scores.loss);
  e.perplexity = std::exp(e.loss);
  e.scored = static_cast<int64_t>(scores.loss.size());
  if (!with_reference) return e;
  Divergence d;
  d.mean = Mean(scores.kl);
  d.median = Quantile(scores.kl, 0.5);
  d.p99 = Quantile(scores.kl, 0.99);
  int64_t same = 0;
  for (const uint8_t s : scores.same_top) same += s;
  d.top1_agreement = static_cast<double>(same) / static_cast<double>(scores.same_top.size());
  d.reference_perplexity = std::exp(Mean(scores.reference_loss));
  e.divergence = d;
  return e;
}

}  // namespace

ModelLimits EvaluateLimits(const EvaluateOptions& options) {
  ModelLimits limits;
  limits.max_step_rows = kEvaluateRows;
  limits.max_logit_rows = kEvaluateRows;
  limits.max_sequences = 1;
  limits.max_context = options.window;
  return limits;
}

Result<Evaluation> Evaluate(std::span<const int32_t> tokens, LoadedModel& model, LoadedModel* reference,
                            Runtime& runtime, const EvaluateOptions& options,
                            FunctionRef<void(int64_t, int64_t)> progress) {
  if (tokens.size() < 2 || options.window < 2)
    return InvalidArgument("the text must have at least two tokens, and a window too");
  INK_ASSIGN_OR_RETURN(WindowRunner runner, WindowRunner::Create(model, options, options.kv_type, options.phase));
  std::optional<WindowRunner> reference_runner;
  if (reference != nullptr) {
    INK_ASSIGN_OR_RETURN(WindowRunner made, WindowRunner::Create(*reference, options, DType::kF16, Phase::kPrompt));
    reference_runner.emplace(std::move(made));
    if (reference_runner->vocab() != runner.vocab()) {
      return InvalidArgument("the reference has " + std::to_string(reference_runner->vocab()) + " logits, the model " +
                             std::to_string(runner.vocab()) + ": expected the same vocabulary");
    }
  }
  const int64_t count = static_cast<int64_t>(tokens.size());
  const int64_t window = std::min(options.window, count);
  int64_t windows = count / window;
  if (options.max_windows > 0) windows = std::min(windows, options.max_windows);
  const int64_t vocab = runner.vocab();

  const ThreadBinding binding = runtime.threads().BindCaller();
  Scores scores;
  for (int64_t w = 0; w < windows; ++w) {
    const auto part = tokens.subspan(static_cast<size_t>(w * window), static_cast<size_t>(window));
    // The last token of a window predicts nothing that is scored, so it is not run.
    for (int64_t begin = 0; begin < window - 1; begin += kEvaluateRows) {
      const int64_t rows = std::min(kEvaluateRows, window - 1 - begin);
      INK_ASSIGN_OR_RETURN(const auto logits, runner.Chunk(part, begin, rows));
      std::span<const float> expected;
      if (reference_runner) {
        INK_ASSIGN_OR_RETURN(expected, reference_runner->Chunk(part, begin, rows));
      }
      const size_t base = scores.loss.size();
      scores.Resize(base + static_cast<size_t>(rows));
      runtime.threads().ParallelFor(rows, 1, [&](int64_t r, int64_t, int) {
        const size_t at = base + static_cast<size_t>(r);
        const float* row = logits.data() + r * vocab;
        const int32_t next = part[static_cast<size_t>(begin + r + 1)];
        const RowStatistics m = Statistics(row, vocab);
        scores.loss[at] = m.log_sum - static_cast<double>(row[next]);
        if (expected.empty()) return;
        const float* expected_row = expected.data() + r * vocab;
        const RowStatistics e = Statistics(expected_row, vocab);
        scores.reference_loss[at] = e.log_sum - static_cast<double>(expected_row[next]);
        scores.kl[at] = KlDivergence(expected_row, e, row, m, vocab);
        scores.same_top[at] = e.top == m.top;
      });
      progress(w * window + begin + rows, windows * window);
    }
  }
  return Summarize(scores, reference != nullptr);
}

}  // namespace inkstone

#include "compress/evaluate.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace inkstone {
namespace {

constexpr KvTypes kReferenceKv{DType::kF16, DType::kF16};

// A model with a cache of its own for one window, and the logits of one chunk.
class WindowRunner {
 public:
  static Result<WindowRunner> Create(LoadedModel& model, int64_t window, KvTypes kv_types, Phase phase) {
    INK_ASSIGN_OR_RETURN(const KvLayout layout, model.model->config().KvLayoutFor(kv_types));
    INK_ASSIGN_OR_RETURN(PagePool pool, PagePool::Create(*model.backend, layout, layout.PagesFor(window)));
    return WindowRunner(model.model.get(), std::move(pool), phase, std::min(kEvaluateRows, window - 1));
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
  WindowRunner(Model* model, PagePool pool, Phase phase, int64_t rows)
      : model_(model),
        phase_(phase),
        pool_(std::make_unique<PagePool>(std::move(pool))),
        table_(std::make_unique<PageTable>(pool_.get())),
        logits_(static_cast<size_t>(rows * model->config().vocab)) {}

  Model* model_;
  Phase phase_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PageTable> table_;
  std::vector<float> logits_;
};

// The first error of several threads.
class SharedStatus {
 public:
  void Update(Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (status_.ok()) status_ = std::move(status);
  }
  const Status& status() const { return status_; }  // when the threads are done

 private:
  std::mutex mutex_;
  Status status_;
};

Status NotFinite(int64_t row) {
  return DataLoss("position " + std::to_string(row) + ": expected finite logits, found a NaN or an infinity");
}

std::span<const float> Row(std::span<const float> logits, int64_t row, int64_t vocab) {
  return logits.subspan(static_cast<size_t>(row * vocab), static_cast<size_t>(vocab));
}

std::vector<ReferenceLogits::Scratch> ScratchForAll(ThreadPool& threads, int64_t vocab) {
  return std::vector<ReferenceLogits::Scratch>(static_cast<size_t>(threads.size()), ReferenceLogits::Scratch(vocab));
}

// Scores chunks of one model against what Options::reference names.
class Scorer {
 public:
  static Result<Scorer> Create(const EvaluationWindows& windows, LoadedModel& model, Runtime& runtime,
                               const EvaluateOptions& options) {
    INK_ASSIGN_OR_RETURN(auto runner, WindowRunner::Create(model, windows.window(), options.kv_types, options.phase));
    Scorer scorer(std::move(runner), &runtime);
    int64_t vocab = scorer.runner_.vocab();
    if (auto* const* reference = std::get_if<LoadedModel*>(&options.reference)) {
      INK_ASSIGN_OR_RETURN(auto made,
                           WindowRunner::Create(**reference, windows.window(), kReferenceKv, Phase::kPrompt));
      vocab = made.vocab();
      scorer.reference_.emplace(std::move(made));
    } else if (const auto* file = std::get_if<const ReferenceLogits*>(&options.reference)) {
      vocab = (*file)->content().vocab;
      scorer.file_ = *file;
      scorer.scratch_ = ScratchForAll(runtime.threads(), vocab);
    }
    if (vocab == scorer.runner_.vocab()) return scorer;
    return InvalidArgument("the reference has " + std::to_string(vocab) + " logits, the model " +
                           std::to_string(scorer.runner_.vocab()) + ": expected the same vocabulary");
  }

  // Fills `scores` (rows) with tokens [begin, begin + rows) of the window.
  Status Score(const EvaluationWindow& window, int64_t begin, std::span<RowScore> scores) {
    const int64_t rows = static_cast<int64_t>(scores.size());
    const int64_t vocab = runner_.vocab();
    INK_ASSIGN_OR_RETURN(const auto logits, runner_.Chunk(window.tokens, begin, rows));
    std::span<const float> expected;
    if (reference_) {
      INK_ASSIGN_OR_RETURN(expected, reference_->Chunk(window.tokens, begin, rows));
    }
    SharedStatus error;
    runtime_->threads().ParallelFor(rows, 1, [&](int64_t r, int64_t, int thread) {
      const int32_t next = window.tokens[static_cast<size_t>(begin + r + 1)];
      const auto row = Row(logits, r, vocab);
      RowScore& score = scores[static_cast<size_t>(r)];
      if (file_ != nullptr) {
        ReferenceLogits::Scratch& scratch = scratch_[static_cast<size_t>(thread)];
        double loss = 0;
        const Status read = file_->Read(window.first_row + begin + r, scratch, &loss);
        if (!read.ok()) return error.Update(read);
        score = ScoreRow(row, scratch.logits, next);
        score.reference_loss = loss;  // before the logits were rounded
      } else {
        score = reference_ ? ScoreRow(row, Row(expected, r, vocab), next) : ScoreRow(row, next);
      }
      if (!std::isfinite(score.loss + score.reference_loss + score.divergence)) {
        error.Update(NotFinite(window.first_row + begin + r));
      }
    });
    return error.status();
  }

 private:
  Scorer(WindowRunner runner, Runtime* runtime) : runner_(std::move(runner)), runtime_(runtime) {}

  WindowRunner runner_;
  std::optional<WindowRunner> reference_;
  const ReferenceLogits* file_ = nullptr;
  std::vector<ReferenceLogits::Scratch> scratch_;  // one for each thread
  Runtime* runtime_;
};

Status CheckTokens(const EvaluationWindows& windows, int64_t vocab) {
  for (const EvaluationText& text : windows.texts()) {
    const auto bad =
        std::find_if(text.tokens.begin(), text.tokens.end(), [&](int32_t t) { return t < 0 || t >= vocab; });
    if (bad == text.tokens.end()) continue;
    return InvalidArgument(text.name + ": expected tokens below " + std::to_string(vocab) + ", found " +
                           std::to_string(*bad));
  }
  return Status::Ok();
}

}  // namespace

ModelLimits EvaluateLimits(int64_t window) {
  ModelLimits limits;
  limits.max_step_rows = kEvaluateRows;
  limits.max_logit_rows = kEvaluateRows;
  limits.max_sequences = 1;
  limits.max_context = window;
  return limits;
}

Result<EvaluationReport> Evaluate(const EvaluationWindows& windows, LoadedModel& model, Runtime& runtime,
                                  const EvaluateOptions& options, EvaluateProgress progress) {
  INK_RETURN_IF_ERROR(CheckTokens(windows, model.model->config().vocab));
  INK_ASSIGN_OR_RETURN(Scorer scorer, Scorer::Create(windows, model, runtime, options));
  const ThreadBinding binding = runtime.threads().BindCaller();
  std::vector<RowScore> scores(static_cast<size_t>(windows.rows()));
  const std::span<RowScore> all(scores);
  for (const EvaluationWindow& window : windows.windows()) {
    for (int64_t begin = 0; begin < window.rows(); begin += kEvaluateRows) {
      const int64_t rows = std::min(kEvaluateRows, window.rows() - begin);
      const auto part = all.subspan(static_cast<size_t>(window.first_row + begin), static_cast<size_t>(rows));
      INK_RETURN_IF_ERROR(scorer.Score(window, begin, part));
      progress(rows);
    }
  }
  const bool with_reference = !std::holds_alternative<std::monostate>(options.reference);
  EvaluationReport report;
  report.all = Summarize(all, with_reference);
  for (size_t text = 0; text < windows.texts().size(); ++text) {
    const auto [begin, end] = windows.RowsOf(text);
    const auto part = all.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    report.texts.push_back(Summarize(part, with_reference));
  }
  return report;
}

Status RecordReference(const EvaluationWindows& windows, LoadedModel& model, Runtime& runtime, ReferenceLogits* logits,
                       EvaluateProgress progress) {
  INK_RETURN_IF_ERROR(CheckTokens(windows, model.model->config().vocab));
  INK_ASSIGN_OR_RETURN(auto runner, WindowRunner::Create(model, windows.window(), kReferenceKv, Phase::kPrompt));
  const int64_t vocab = runner.vocab();
  auto scratch = ScratchForAll(runtime.threads(), vocab);
  const ThreadBinding binding = runtime.threads().BindCaller();
  for (const EvaluationWindow& window : windows.windows().subspan(static_cast<size_t>(logits->windows_done()))) {
    for (int64_t begin = 0; begin < window.rows(); begin += kEvaluateRows) {
      const int64_t rows = std::min(kEvaluateRows, window.rows() - begin);
      INK_ASSIGN_OR_RETURN(const auto chunk, runner.Chunk(window.tokens, begin, rows));
      SharedStatus error;
      runtime.threads().ParallelFor(rows, 1, [&](int64_t r, int64_t, int thread) {
        const auto row = Row(chunk, r, vocab);
        const int64_t at = window.first_row + begin + r;
        if (!std::all_of(row.begin(), row.end(), [](float v) { return std::isfinite(v); })) {
          return error.Update(NotFinite(at));
        }
        const double loss = ScoreRow(row, window.tokens[static_cast<size_t>(begin + r + 1)]).loss;
        const Status written = logits->Write(at, loss, row, scratch[static_cast<size_t>(thread)]);
        if (!written.ok()) error.Update(written);
      });
      INK_RETURN_IF_ERROR(error.status());
      progress(rows);
    }
    INK_RETURN_IF_ERROR(logits->FinishWindow());
  }
  return Status::Ok();
}

}  // namespace inkstone

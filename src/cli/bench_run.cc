#include "cli/bench_run.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "cli/machine_limits.h"
#include "core/memory_info.h"
#include "model/runtime.h"

namespace inkstone {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Sequences that are filled again and again.
class Bench {
 public:
  static Result<Bench> Create(LoadedModel& loaded, const BenchSettings& settings, int64_t context) {
    const ModelConfig& config = loaded.model->config();
    INK_ASSIGN_OR_RETURN(const KvLayout layout,
                         config.KvLayoutFor(settings.kv_types.value_or(config.DefaultKvTypes())));
    INK_ASSIGN_OR_RETURN(PagePool pool,
                         PagePool::Create(*loaded.backend, layout, settings.batch * layout.PagesFor(context)));
    Bench bench(*loaded.model, std::move(pool), settings);
    for (PageTable& table : bench.tables_) INK_RETURN_IF_ERROR(table.Reserve(context));
    return bench;
  }

  // Seconds to process `count` prompt tokens of a sequence at `position`.
  Result<double> Prefill(size_t sequence, int64_t position, int64_t count) {
    std::vector<int32_t> tokens(static_cast<size_t>(count));
    for (int32_t& token : tokens) token = NextToken();
    const auto start = Clock::now();
    for (int64_t begin = 0; begin < count; begin += chunk_) {
      const size_t rows = static_cast<size_t>(std::min(chunk_, count - begin));
      const bool last = begin + chunk_ >= count;
      const SequenceStep step{std::span(tokens).subspan(static_cast<size_t>(begin), rows), position + begin,
                              &tables_[sequence], Phase::kPrompt, last ? LogitRows::kLast : LogitRows::kNone};
      INK_RETURN_IF_ERROR(model_->Forward({&step, 1}, logits_));
    }
    return Seconds(start);
  }
  // Fills the first `depth` positions of every sequence.
  Status Fill(int64_t depth) {
    if (depth == 0) return Status::Ok();
    for (size_t i = 0; i < tables_.size(); ++i) INK_RETURN_IF_ERROR(Prefill(i, 0, depth).status());
    return Status::Ok();
  }

  KvTypes kv_types() const { return pool_->layout().types; }

  // Seconds in which every sequence generates `count` tokens from `position` on.
  Result<double> Decode(int64_t position, int64_t count) {
    std::vector<int32_t> tokens(tables_.size());
    std::vector<SequenceStep> steps(tables_.size());
    const auto start = Clock::now();
    for (int64_t i = 0; i < count; ++i) {
      for (size_t s = 0; s < steps.size(); ++s) {
        tokens[s] = NextToken();
        steps[s] = {{&tokens[s], 1}, position + i, &tables_[s], Phase::kDecode, LogitRows::kLast};
      }
      INK_RETURN_IF_ERROR(model_->Forward(steps, logits_));
    }
    return Seconds(start);
  }

 private:
  Bench(Model& model, PagePool pool, const BenchSettings& settings)
      : model_(&model),
        pool_(std::make_unique<PagePool>(std::move(pool))),
        chunk_(settings.chunk),
        logits_(static_cast<size_t>(settings.batch * model.config().vocab)) {
    for (int64_t i = 0; i < settings.batch; ++i) tables_.emplace_back(pool_.get());
  }

  // Any tokens cost the same; a linear congruential sequence spreads them over the embedding.
  int32_t NextToken() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int32_t>((state_ >> 33) % static_cast<uint64_t>(model_->config().vocab));
  }

  Model* model_;
  std::unique_ptr<PagePool> pool_;
  std::vector<PageTable> tables_;
  int64_t chunk_;
  std::vector<float> logits_;
  uint64_t state_ = 1;
};

// Bytes of weights that one step of decoding reads.
uint64_t BytesPerStep(const Checkpoint& checkpoint) {
  uint64_t bytes = checkpoint.tensor_bytes();
  // With an output matrix of its own, the embedding is only looked up.
  if (checkpoint.Find("output.weight") != nullptr) bytes -= checkpoint.Find("token_embd.weight")->bytes;
  return bytes;
}

ModelLimits LimitsFor(const BenchSettings& s) {
  ModelLimits limits;
  limits.max_step_rows = std::max(s.chunk, s.batch);
  limits.max_logit_rows = s.batch;
  limits.max_sequences = s.batch;
  limits.max_context = s.depth + std::max(s.prompt, s.generate + 1);
  return limits;
}

}  // namespace

Result<BenchResult> RunBench(const BenchSettings& s) {
  BenchResult r;
  OperationCosts costs;
  const auto start = Clock::now();
  INK_ASSIGN_OR_RETURN(const auto runtime,
                       Runtime::Create({s.threads, s.cpu, s.pinning, s.profile ? &costs : nullptr}));
  const ModelLimits limits = LimitsFor(s);
  INK_ASSIGN_OR_RETURN(LoadedModel loaded, LoadModel(s.path, *runtime, limits));
  INK_ASSIGN_OR_RETURN(Bench bench, Bench::Create(loaded, s, limits.max_context));
  r.target = loaded.backend->name();
  r.kv_types = bench.kv_types();
  r.load_ms = Seconds(start) * 1000;
  r.threads = runtime->threads().size();
  r.pinned = runtime->threads().pinned();
  const ThreadBinding binding = runtime->threads().BindCaller();

  INK_RETURN_IF_ERROR(bench.Fill(s.depth));
  INK_RETURN_IF_ERROR(bench.Decode(s.depth, 1).status());  // brings the weights into the page cache
  std::vector<double> prefill, decode;
  costs.clear();
  for (int i = 0; i < s.repeat; ++i) {
    costs.swap(r.prefill_costs);
    INK_ASSIGN_OR_RETURN(const double prefill_seconds, bench.Prefill(0, s.depth, s.prompt));
    costs.swap(r.prefill_costs);
    costs.swap(r.decode_costs);
    INK_ASSIGN_OR_RETURN(const double decode_seconds, bench.Decode(s.depth, s.generate));
    costs.swap(r.decode_costs);
    prefill.push_back(static_cast<double>(s.prompt) / prefill_seconds);
    decode.push_back(static_cast<double>(s.generate) / decode_seconds);
    r.prefill_seconds += prefill_seconds;
    r.decode_seconds += decode_seconds;
  }
  r.prefill_tps = Median(prefill);
  r.decode_tps = Median(decode) * static_cast<double>(s.batch);
  r.read_gbs = Median(decode) * static_cast<double>(BytesPerStep(*loaded.checkpoint)) * 1e-9;
  r.rss_bytes = GetProcessMemory().resident;
  r.read_limit_gbs = MeasureReadLimit(&runtime->threads());
  r.arithmetic_limit_tflops = MeasureArithmeticLimit(&runtime->threads(), runtime->kernels());
  return r;
}

}  // namespace inkstone

#include "cli/bench_run.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "cli/machine_limits.h"
#include "core/memory_info.h"
#include "kvcache/attention_window.h"
#include "model/runtime.h"

namespace inkstone {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Sequences that are filled again and again; those with a window, which has no way back, further and further.
class Bench {
 public:
  static Result<Bench> Create(LoadedModel& loaded, const BenchSettings& settings, int64_t context) {
    const ModelConfig& config = loaded.model->config();
    INK_ASSIGN_OR_RETURN(const KvLayout layout,
                         config.KvLayoutFor(settings.kv_types.value_or(config.DefaultKvTypes())));
    const auto window = AttentionWindow::For(settings.attention_window, settings.attention_sinks, layout.page_tokens);
    const int64_t pages = settings.batch * layout.PagesFor(window.MostTokens(context));
    INK_ASSIGN_OR_RETURN(PagePool pool, PagePool::Create(*loaded.backend, layout, pages));
    return Bench(*loaded.model, std::move(pool), window, settings);
  }

  // Seconds to process `count` prompt tokens of a sequence.
  Result<double> Prefill(size_t sequence, int64_t count) {
    std::vector<int32_t> tokens(static_cast<size_t>(count));
    for (int32_t& token : tokens) token = NextToken();
    const auto start = Clock::now();
    const int64_t first = positions_[sequence];
    for (int64_t begin = 0, end; begin < count; begin = end) {
      end = std::min(begin + chunk_, window_.NextDrop(first + begin, first + count) - first);
      INK_ASSIGN_OR_RETURN(const PageTable* table, TableFor(sequence, end - begin));
      const auto some = std::span(tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
      const SequenceStep step{some, first + begin, table, Phase::kPrompt,
                              end == count ? LogitRows::kLast : LogitRows::kNone};
      INK_RETURN_IF_ERROR(model_->Forward({&step, 1}, logits_));
      positions_[sequence] += end - begin;
    }
    return Seconds(start);
  }
  // Fills the first `depth` positions of every sequence.
  Status Fill(int64_t depth) {
    if (depth == 0) return Status::Ok();
    for (size_t i = 0; i < tables_.size(); ++i) INK_RETURN_IF_ERROR(Prefill(i, depth).status());
    return Status::Ok();
  }
  // The next tokens come at `position` again, where there is a way back.
  void Rewind(int64_t position) {
    if (!window_.on()) std::fill(positions_.begin(), positions_.end(), position);
  }

  KvTypes kv_types() const { return pool_->layout().types; }

  // Seconds in which every sequence generates `count` tokens.
  Result<double> Decode(int64_t count) {
    std::vector<int32_t> tokens(tables_.size());
    std::vector<SequenceStep> steps(tables_.size());
    const auto start = Clock::now();
    for (int64_t i = 0; i < count; ++i) {
      for (size_t s = 0; s < steps.size(); ++s) {
        tokens[s] = NextToken();
        INK_ASSIGN_OR_RETURN(const PageTable* table, TableFor(s, 1));
        steps[s] = {{&tokens[s], 1}, positions_[s], table, Phase::kDecode, LogitRows::kLast};
      }
      INK_RETURN_IF_ERROR(model_->Forward(steps, logits_));
      for (int64_t& position : positions_) ++position;
    }
    return Seconds(start);
  }

 private:
  Bench(Model& model, PagePool pool, const AttentionWindow& window, const BenchSettings& settings)
      : model_(&model),
        pool_(std::make_unique<PagePool>(std::move(pool))),
        window_(window),
        positions_(static_cast<size_t>(settings.batch)),
        chunk_(settings.chunk),
        logits_(static_cast<size_t>(settings.batch * model.config().vocab)) {
    for (int64_t i = 0; i < settings.batch; ++i) tables_.emplace_back(pool_.get());
  }

  // With room for the next `count` tokens, and without what they do not see.
  Result<const PageTable*> TableFor(size_t sequence, int64_t count) {
    PageTable& table = tables_[sequence];
    table.Drop(window_.sinks, window_.Dropped(positions_[sequence]));
    INK_RETURN_IF_ERROR(table.Reserve(positions_[sequence] + count));
    return &table;
  }

  // Any tokens cost the same; a linear congruential sequence spreads them over the embedding.
  int32_t NextToken() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int32_t>((state_ >> 33) % static_cast<uint64_t>(model_->config().vocab));
  }

  Model* model_;
  std::unique_ptr<PagePool> pool_;
  std::vector<PageTable> tables_;
  AttentionWindow window_;
  std::vector<int64_t> positions_;  // of each sequence's next token
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

// Weights of the layers' matrices, all of which a token of a prompt meets.
int64_t LayerWeights(const Checkpoint& checkpoint) {
  int64_t weights = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (tensor.shape.size() > 1 && tensor.name.starts_with("blk.")) weights += tensor.rows() * tensor.cols();
  }
  return weights;
}

// The type that most bytes of the weights have.
DType MainType(const Checkpoint& checkpoint) {
  std::map<DType, uint64_t> bytes;
  for (const TensorInfo& tensor : checkpoint.tensors()) bytes[tensor.dtype] += tensor.bytes;
  const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
  return std::max_element(bytes.begin(), bytes.end(), less)->first;
}

ModelLimits LimitsFor(const BenchSettings& s) {
  ModelLimits limits;
  limits.max_step_rows = std::max(s.chunk, s.batch);
  limits.max_logit_rows = s.batch;
  limits.max_sequences = s.batch;
  const int64_t further = 1 + s.repeat * (s.prompt + s.generate);
  limits.max_context = s.depth + (s.attention_window > 0 ? further : std::max(s.prompt, s.generate + 1));
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
  INK_RETURN_IF_ERROR(bench.Decode(1).status());  // brings the weights into the page cache
  std::vector<double> prefill, decode;
  costs.clear();
  for (int i = 0; i < s.repeat; ++i) {
    bench.Rewind(s.depth);
    costs.swap(r.prefill_costs);
    INK_ASSIGN_OR_RETURN(const double prefill_seconds, bench.Prefill(0, s.prompt));
    costs.swap(r.prefill_costs);
    bench.Rewind(s.depth);
    costs.swap(r.decode_costs);
    INK_ASSIGN_OR_RETURN(const double decode_seconds, bench.Decode(s.generate));
    costs.swap(r.decode_costs);
    prefill.push_back(static_cast<double>(s.prompt) / prefill_seconds);
    decode.push_back(static_cast<double>(s.generate) / decode_seconds);
    r.prefill_seconds += prefill_seconds;
    r.decode_seconds += decode_seconds;
  }
  r.prefill_tps = Median(prefill);
  r.decode_tps = Median(decode) * static_cast<double>(s.batch);
  r.read_gbs = Median(decode) * static_cast<double>(BytesPerStep(*loaded.checkpoint)) * 1e-9;
  r.prefill_tflops = r.prefill_tps * 2e-12 * static_cast<double>(LayerWeights(*loaded.checkpoint));
  r.rss_bytes = GetProcessMemory().resident;
  r.read_limit_gbs = MeasureReadLimit(&runtime->threads());
  r.arithmetic_limit = MeasureArithmeticLimit(&runtime->threads(), runtime->kernels(), MainType(*loaded.checkpoint));
  return r;
}

}  // namespace inkstone

// inkstone bench: speed and memory of a model, beside what the machine's memory can give.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/read_limit.h"
#include "core/memory_info.h"
#include "core/units.h"
#include "model/runtime.h"
#include "server/json_writer.h"

namespace inkstone {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchOptions : CommonOptions {
  int64_t prompt = 512;
  int64_t generate = 64;
  int64_t depth = 0;
  int repeat = 3;
  int64_t chunk = 512;
};

struct BenchResult {
  double prefill_tps = 0;
  double decode_tps = 0;
  double load_ms = 0;
  uint64_t rss_bytes = 0;
  double read_gbs = 0;        // weights read per second while decoding
  double read_limit_gbs = 0;  // what plain reading reaches with the same threads
};

void Declare(CLI::App* command, BenchOptions* o) {
  AddCommonOptions(command, o);
  command->add_option("-p,--prompt", o->prompt, "Prompt tokens to process")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("-n,--generate", o->generate, "Tokens to generate, one at a time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--depth", o->depth, "Tokens that are in the cache before either")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  command->add_option("--repeat", o->repeat, "Repetitions; the median is reported")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("--chunk", o->chunk, "Prompt tokens per step")->capture_default_str()->check(CLI::Range(1, 8192));
  command->footer("Example:\n  inkstone bench qwen3-4b.gguf -p 512 -n 64 --depth 4096");
}

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// One sequence that is filled again and again.
class Bench {
 public:
  Bench(LoadedModel& loaded, PageTable* table, int64_t chunk)
      : model_(*loaded.model), table_(table), chunk_(chunk), logits_(static_cast<size_t>(model_.config().vocab)) {}

  // Seconds to process `count` prompt tokens at `position`.
  Result<double> Prefill(int64_t position, int64_t count) {
    std::vector<int32_t> tokens(static_cast<size_t>(count));
    for (int32_t& token : tokens) token = NextToken();
    const auto start = Clock::now();
    for (int64_t begin = 0; begin < count; begin += chunk_) {
      const size_t rows = static_cast<size_t>(std::min(chunk_, count - begin));
      const bool last = begin + chunk_ >= count;
      const SequenceStep step{std::span(tokens).subspan(static_cast<size_t>(begin), rows), position + begin, table_,
                              Phase::kPrompt, last ? LogitRows::kLast : LogitRows::kNone};
      INK_RETURN_IF_ERROR(model_.Forward({&step, 1}, logits_));
    }
    return Seconds(start);
  }

  // Seconds to generate `count` tokens one by one at `position`.
  Result<double> Decode(int64_t position, int64_t count) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < count; ++i) {
      const int32_t token = NextToken();
      const SequenceStep step{{&token, 1}, position + i, table_, Phase::kDecode, LogitRows::kLast};
      INK_RETURN_IF_ERROR(model_.Forward({&step, 1}, logits_));
    }
    return Seconds(start);
  }

 private:
  // Any tokens cost the same; a linear congruential sequence spreads them over the embedding.
  int32_t NextToken() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int32_t>((state_ >> 33) % static_cast<uint64_t>(model_.config().vocab));
  }

  Model& model_;
  PageTable* table_;
  int64_t chunk_;
  std::vector<float> logits_;
  uint64_t state_ = 1;
};

// Bytes of weights that generating one token reads.
uint64_t BytesPerToken(const Checkpoint& checkpoint) {
  uint64_t bytes = checkpoint.tensor_bytes();
  // With an output matrix of its own, the embedding is only looked up.
  if (checkpoint.Find("output.weight") != nullptr) bytes -= checkpoint.Find("token_embd.weight")->bytes;
  return bytes;
}

Result<BenchResult> Measure(const BenchOptions& o) {
  INK_ASSIGN_OR_RETURN(const std::string path, ResolveModel(o.model));
  BenchResult r;
  const auto start = Clock::now();
  INK_ASSIGN_OR_RETURN(const auto runtime, Runtime::Create({o.threads, o.cpu}));
  ModelLimits limits;
  limits.max_step_rows = o.chunk;
  limits.max_logit_rows = 1;
  limits.max_sequences = 1;
  limits.max_context = o.depth + std::max(o.prompt, o.generate + 1);
  INK_ASSIGN_OR_RETURN(LoadedModel loaded, LoadModel(path, *runtime, limits));
  const KvLayout layout = loaded.model->config().KvLayoutFor(DType::kF16);
  INK_ASSIGN_OR_RETURN(PagePool pool, PagePool::Create(*loaded.backend, layout, layout.PagesFor(limits.max_context)));
  PageTable table(&pool);
  INK_RETURN_IF_ERROR(table.Reserve(limits.max_context));
  r.load_ms = Seconds(start) * 1000;

  Bench bench(loaded, &table, o.chunk);
  if (o.depth > 0) INK_RETURN_IF_ERROR(bench.Prefill(0, o.depth).status());
  INK_RETURN_IF_ERROR(bench.Decode(o.depth, 1).status());  // brings the weights into the page cache
  std::vector<double> prefill;
  std::vector<double> decode;
  for (int i = 0; i < o.repeat; ++i) {
    INK_ASSIGN_OR_RETURN(const double prefill_seconds, bench.Prefill(o.depth, o.prompt));
    INK_ASSIGN_OR_RETURN(const double decode_seconds, bench.Decode(o.depth, o.generate));
    prefill.push_back(static_cast<double>(o.prompt) / prefill_seconds);
    decode.push_back(static_cast<double>(o.generate) / decode_seconds);
  }
  r.prefill_tps = Median(prefill);
  r.decode_tps = Median(decode);
  r.read_gbs = r.decode_tps * static_cast<double>(BytesPerToken(*loaded.checkpoint)) * 1e-9;
  r.rss_bytes = GetProcessMemory().resident;
  r.read_limit_gbs = MeasureReadLimit(&runtime->threads());
  return r;
}

Status Run(const BenchOptions& o) {
  INK_ASSIGN_OR_RETURN(const BenchResult r, Measure(o));
  if (o.json) {
    JsonWriter json;
    json.BeginObject()
        .Field("prefill_tps", r.prefill_tps)
        .Field("decode_tps", r.decode_tps)
        .Field("rss_bytes", r.rss_bytes);
    json.Field("load_ms", r.load_ms).Field("read_gbs", r.read_gbs).Field("read_limit_gbs", r.read_limit_gbs);
    std::puts(json.EndObject().Take().c_str());
    return Status::Ok();
  }
  std::printf("prefill    %9.2f tokens/s   (%lld tokens at depth %lld)\n", r.prefill_tps,
              static_cast<long long>(o.prompt), static_cast<long long>(o.depth));
  std::printf("decode     %9.2f tokens/s   (%lld tokens at depth %lld)\n", r.decode_tps,
              static_cast<long long>(o.generate), static_cast<long long>(o.depth));
  std::printf("weights    %9.2f GB/s read while decoding, %.0f %% of the %.1f GB/s that plain reading reaches\n",
              r.read_gbs, 100 * r.read_gbs / r.read_limit_gbs, r.read_limit_gbs);
  std::printf("resident   %12s\n", FormatBytes(r.rss_bytes).c_str());
  std::printf("load       %9.0f ms\n", r.load_ms);
  return Status::Ok();
}

}  // namespace

void AddBenchCommand(CLI::App* app, CommandBody* body) {
  AddCommand<BenchOptions>(app, body, "bench", "Measure speed and memory beside the machine's limit", Declare, Run);
}

}  // namespace inkstone

// inkstone bench: speed and memory of a model, beside what the machine's memory can give; or a load on a server.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "cli/bench_run.h"
#include "cli/command.h"
#include "cli/load_command.h"
#include "cli/model_path.h"
#include "cli/session_options.h"
#include "core/units.h"
#include "server/json_writer.h"

namespace inkstone {
namespace {

struct BenchOptions : ComputeOptions {
  BenchSettings run;
  LoadCommandOptions load;  // with --url, instead
};

void Declare(CLI::App* command, BenchOptions* o) {
  command->add_option("MODEL", o->model, "GGUF file, Hugging Face folder, or a name in the local model folder");
  AddComputeOptions(command, o, /*with_model=*/false);
  command->add_option("-p,--prompt", o->run.prompt, "Prompt tokens to process")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("-n,--generate", o->run.generate, "Tokens to generate, one at a time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--depth", o->run.depth, "Tokens that are in the cache before either")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  command->add_option("--batch", o->run.batch, "Sequences that generate together")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_option("--repeat", o->run.repeat, "Repetitions; the median is reported")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("--chunk", o->run.chunk, "Prompt tokens per step")
      ->capture_default_str()
      ->check(CLI::Range(1, 8192));
  AddKvTypeOption(command, &o->run.kv_types, kDefaultKv);
  AddAttentionWindowOptions(command, &o->run.attention_window, &o->run.attention_sinks);
  command->add_flag("--profile", o->run.profile, "Show where the time goes, operation by operation");
  AddLoadOptions(command, &o->load);
  command->footer(
      "Examples:\n"
      "  inkstone bench qwen3-4b.gguf -p 512 -n 64 --depth 4096\n"
      "  inkstone bench qwen3-4b.gguf --batch 16 --profile\n"
      "  inkstone bench --url http://127.0.0.1:8080 --clients 16 --requests 64 --prompt-tokens 64:2000\n"
      "  inkstone bench --url http://127.0.0.1:8080 --rate 2 --duration 5m --slo-ttft 1s --slo-tbt 200ms --plot "
      "load.svg\n"
      "  inkstone bench --url http://127.0.0.1:8080 --clients 100 --duration 1h --disconnect 0.1 --slow-reader 2kB");
}

void AddCosts(JsonWriter* json, const char* name, const OperationCosts& costs) {
  json->Key(name).BeginArray();
  for (const auto& [operation, cost] : costs) {
    json->BeginObject().Field("operation", operation).Field("calls", cost.calls).Field("seconds", cost.seconds);
    json->Field("weight_bytes", cost.weight_bytes).Field("flops", cost.flops).EndObject();
  }
  json->EndArray();
}

void PrintJson(const BenchResult& r, const BenchOptions& o) {
  JsonWriter json;
  json.BeginObject()
      .Field("prefill_tps", r.prefill_tps)
      .Field("decode_tps", r.decode_tps)
      .Field("rss_bytes", r.rss_bytes);
  json.Field("load_ms", r.load_ms).Field("read_gbs", r.read_gbs).Field("read_limit_gbs", r.read_limit_gbs);
  json.Field("prefill_tflops", r.prefill_tflops);
  json.Field("arithmetic_limit_tflops", r.arithmetic_limit.tflops);
  json.Field("arithmetic_limit_instruction", r.arithmetic_limit.instruction);
  json.Field("batch", o.run.batch)
      .Field("kv_type", KvTypesName(r.kv_types))
      .Field("target", r.target)
      .Field("threads", r.threads)
      .Field("pinned", r.pinned);
  if (o.run.profile) {
    AddCosts(&json, "prefill_profile", r.prefill_costs);
    AddCosts(&json, "decode_profile", r.decode_costs);
  }
  std::puts(json.EndObject().Take().c_str());
}

// Operations by time, and what lies between them.
void PrintCosts(const char* title, const OperationCosts& costs, double seconds) {
  std::vector<std::pair<std::string, OperationCost>> sorted(costs.begin(), costs.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  std::printf("\n%-28s %8s %8s %7s %8s %9s\n", title, "calls", "ms", "share", "GB/s", "GFLOP/s");
  double rest = seconds;
  for (const auto& [name, cost] : sorted) {
    rest -= cost.seconds;
    std::printf("  %-26s %8lld %8.1f %6.1f%%", name.c_str(), static_cast<long long>(cost.calls), cost.seconds * 1e3,
                100 * cost.seconds / seconds);
    if (cost.flops > 0) {
      std::printf(" %8.1f %9.0f", cost.weight_bytes * 1e-9 / cost.seconds, cost.flops * 1e-9 / cost.seconds);
    }
    std::puts("");
  }
  std::printf("  %-26s %8s %8.1f %6.1f%%\n", "between operations", "", rest * 1e3, 100 * rest / seconds);
}

void PrintTable(const BenchResult& r, const BenchOptions& o) {
  std::printf("target     %12s   (%d threads%s)\n", r.target.c_str(), r.threads, r.pinned ? ", pinned" : "");
  std::printf("prefill    %9.2f tokens/s   (%lld tokens at depth %lld)\n", r.prefill_tps,
              static_cast<long long>(o.run.prompt), static_cast<long long>(o.run.depth));
  std::printf("decode     %9.2f tokens/s   (%lld sequences, %lld tokens each, at depth %lld)\n", r.decode_tps,
              static_cast<long long>(o.run.batch), static_cast<long long>(o.run.generate),
              static_cast<long long>(o.run.depth));
  std::printf("weights    %9.2f GB/s read while decoding, %.0f %% of the %.1f GB/s that plain reading reaches\n",
              r.read_gbs, 100 * r.read_gbs / r.read_limit_gbs, r.read_limit_gbs);
  if (r.arithmetic_limit.tflops > 0) {
    std::printf("arithmetic %9.2f TFLOP/s in prefill, %.0f %% of the %.2f that %s alone reaches\n", r.prefill_tflops,
                100 * r.prefill_tflops / r.arithmetic_limit.tflops, r.arithmetic_limit.tflops,
                std::string(r.arithmetic_limit.instruction).c_str());
  }
  std::printf("resident   %12s\n", FormatBytes(r.rss_bytes).c_str());
  std::printf("load       %9.0f ms\n", r.load_ms);
  if (!o.run.profile) return;
  PrintCosts("prefill", r.prefill_costs, r.prefill_seconds);
  PrintCosts("decode", r.decode_costs, r.decode_seconds);
}

Status Run(const BenchOptions& o) {
  if (!o.load.load.url.empty()) return RunLoadCommand(o.load, o.json);
  BenchSettings settings = o.run;
  INK_ASSIGN_OR_RETURN(settings.path, ResolveModel(o.model));
  settings.threads = o.threads;
  settings.cpu = o.cpu;
  settings.pinning = o.pinning;
  INK_ASSIGN_OR_RETURN(const BenchResult r, RunBench(settings));
  o.json ? PrintJson(r, o) : PrintTable(r, o);
  return Status::Ok();
}

}  // namespace

void AddBenchCommand(CLI::App* app, CommandBody* body) {
  AddCommand<BenchOptions>(app, body, "bench", "Measure speed and memory beside the machine's limit", Declare, Run);
}

}  // namespace inkstone

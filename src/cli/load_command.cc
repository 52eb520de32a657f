#include "cli/load_command.h"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>

#include "cli/output_files.h"
#include "cli/progress_bar.h"
#include "core/atomic_file.h"
#include "core/printable.h"
#include "core/units.h"
#include "loadgen/latency_plot.h"
#include "loadgen/load_run.h"
#include "loadgen/url.h"

namespace inkstone {
namespace {

constexpr char kGroup[] = "Load on a server (--url)";

template <typename T>
std::string Problem(const Result<T>& result) {
  return result.ok() ? "" : result.status().message();
}

// "128" or "64:2000".
Result<LengthRange> ParseRange(const std::string& text) {
  LengthRange range;
  const char* end = text.data() + text.size();
  auto [next, error] = std::from_chars(text.data(), end, range.low);
  range.high = range.low;
  if (error == std::errc() && next != end && *next == ':') {
    const auto second = std::from_chars(next + 1, end, range.high);
    next = second.ptr;
    error = second.ec;
  }
  constexpr int64_t kMax = 1 << 20;
  if (error != std::errc() || next != end || range.low < 1 || range.high < range.low || range.high > kMax) {
    return InvalidArgument("expected a number of tokens or a range such as 64:2000, found '" + text + "'");
  }
  return range;
}

CLI::Option* AddRange(CLI::App* command, const std::string& name, LengthRange* range, const std::string& words) {
  const std::string shown = range->low == range->high ? std::to_string(range->low) : "";
  return command
      ->add_option_function<std::string>(
          name, [range](const std::string& text) { *range = *ParseRange(text); }, words)
      ->default_str(shown)
      ->check([](const std::string& text) { return Problem(ParseRange(text)); })
      ->type_name("N or LOW:HIGH");
}

CLI::Option* AddSeconds(CLI::App* command, const std::string& name, double* seconds, const std::string& words) {
  return command
      ->add_option_function<std::string>(
          name, [seconds](const std::string& text) { *seconds = *ParseDuration(text); }, words)
      ->check([](const std::string& text) {
        const auto parsed = ParseDuration(text);
        return parsed.ok() && *parsed <= 0 ? "expected more than 0 seconds" : Problem(parsed);
      })
      ->type_name("TIME");
}

void AddShape(CLI::App* command, LoadOptions* o) {
  auto* clients = command
                      ->add_option("--clients", o->clients,
                                   "Closed loop: clients, each of which sends its next "
                                   "request when the last one has ended")
                      ->capture_default_str()
                      ->check(CLI::Range(1, 4096));
  auto* rate = command
                   ->add_option("--rate", o->rate,
                                "Open loop: requests per second, at random moments (Poisson), "
                                "whether the server keeps up or not")
                   ->check(CLI::Range(1e-3, 1e5))
                   ->excludes(clients);
  command->add_option("--max-in-flight", o->max_in_flight, "Open loop: requests under way; one more is dropped")
      ->capture_default_str()
      ->check(CLI::Range(1, 16384))
      ->needs(rate);
  command->add_option("--requests", o->requests, "Requests after which the load ends")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  AddSeconds(command, "--duration", &o->duration,
             "Time after which no request starts, such as 60s or 5m; default without --requests: 60s");
  command->add_option("--warmup", o->warmup, "Requests before the measurement that do not count")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  AddSeconds(command, "--timeout", &o->timeout, "Time that a request may take")->default_str("10m");
  command
      ->add_option_function<std::string>(
          "--slow-reader", [o](const std::string& text) { o->slow_reader = *ParseBytes(text); },
          "Bytes per second that each client reads at most, such as 2kB")
      ->check([](const std::string& text) {
        const auto parsed = ParseBytes(text);
        return parsed.ok() && *parsed == 0 ? "expected at least 1 byte" : Problem(parsed);
      })
      ->type_name("SIZE");
  command->add_option("--disconnect", o->disconnect, "Share of the requests that hang up at a random moment, 0 to 1")
      ->check(CLI::Range(0.0, 1.0));
  AddSeconds(command, "--slo-ttft", &o->slo_ttft, "Goodput counts requests whose first token came within this time");
  AddSeconds(command, "--slo-tbt", &o->slo_tbt, "... and whose tokens took at most this time each, on average");
}

void AddWorkload(CLI::App* command, WorkloadOptions* o) {
  command->add_option("--endpoint", o->endpoint, "chat or completions")
      ->default_str("chat")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Endpoint>{{"chat", Endpoint::kChat}, {"completions", Endpoint::kCompletions}}));
  command->add_option("--model", o->model, "Name of the model, for servers that want it");
  auto* length = AddRange(command, "--prompt-tokens", &o->prompt_tokens,
                          "Length of the prompts, in generated words of a token each; the chat template comes on top");
  AddRange(command, "--max-tokens", &o->max_tokens, "Length of the answers at most");
  command->add_option("--lengths", o->spread, "How lengths are spread over a range: uniform or log-uniform")
      ->default_str("uniform")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Spread>{{"uniform", Spread::kUniform}, {"log-uniform", Spread::kLogUniform}}));
  auto* prefix = command->add_option("--shared-prefix", o->shared_prefix, "Tokens that all prompts begin with")
                     ->check(CLI::Range(0, 1 << 20));
  command
      ->add_option("--prompts", o->file,
                   "JSONL file with \"messages\" or \"prompt\", and \"max_tokens\" or not, instead of generated words")
      ->excludes(length)
      ->excludes(prefix)
      ->check(CLI::ExistingFile);
  command->add_flag("--ignore-eos", o->ignore_eos, "Ask the server to generate on to the length at most");
  command->add_option("--seed", o->seed, "Of prompts, lengths, arrivals and hang-ups")->capture_default_str();
}

// A value of the environment is no wish of this command line.
bool IsGiven(const CLI::Option& option) {
  const std::string& variable = option.get_envname();
  return option.count() > 0 && (variable.empty() || std::getenv(variable.c_str()) == nullptr);
}

void CheckMixture(const CLI::App& command) {
  const bool load = command.get_option("--url")->count() > 0;
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    if (name == "--json" || name.starts_with("--help") || !IsGiven(*option)) continue;
    const bool of_load = option->get_group() == kGroup;
    if (of_load && !load) throw CLI::ValidationError(name, "is about a load on a server, and needs --url");
    if (!of_load && load) {
      throw CLI::ValidationError(name, "is about a model in this process, and cannot go with --url");
    }
  }
  if (!load && command.get_option("MODEL")->count() == 0) {
    throw CLI::RequiredError("MODEL, or --url for a load on a server,");
  }
}

// Where neither is given the load ends after a minute.
LoadOptions WithEnd(LoadOptions options) {
  if (options.requests == 0 && options.duration == 0) options.duration = 60;
  return options;
}

}  // namespace

void AddLoadOptions(CLI::App* command, LoadCommandOptions* o) {
  const size_t before = command->get_options().size();
  command->add_option("--url", o->load.url, "OpenAI-compatible server to put a load on, such as http://127.0.0.1:8080")
      ->check([](const std::string& text) { return Problem(ParseServerUrl(text)); });
  command->add_option("--api-key", o->load.api_key, "Bearer token for the server")->envname("INKSTONE_API_KEY");
  AddShape(command, &o->load);
  AddWorkload(command, &o->load.workload);
  command->add_option("--plot", o->plot, "SVG file to write: how the latencies are distributed");
  const auto options = command->get_options();
  for (size_t i = before; i < options.size(); ++i) options[i]->group(kGroup);
  command->parse_complete_callback([command] { CheckMixture(*command); });
}

Status RunLoadCommand(const LoadCommandOptions& o, bool json) {
  INK_RETURN_IF_ERROR(CheckOutputFiles({{"--plot", o.plot}}, {{"--prompts", o.load.workload.file}}));
  std::optional<AtomicFile> plot;  // opened first: better no load than one whose plot cannot be written
  if (!o.plot.empty()) {
    INK_ASSIGN_OR_RETURN(plot, AtomicFile::Create(o.plot));
  }
  std::optional<ProgressBar> bar("load");
  const auto progress = [&bar](uint64_t done, uint64_t total) { bar->Update(done, total); };
  INK_ASSIGN_OR_RETURN(const LoadReport report, RunLoad(WithEnd(o.load), progress));
  bar.reset();
  // The table has words of the server's.
  std::fputs((json ? ReportJson(report) + "\n" : Printable(ReportTable(report), TextShape::kText)).c_str(), stdout);
  if (plot) {
    const std::string svg = PlotLatencies(report);
    INK_RETURN_IF_ERROR(plot->Write(svg.data(), svg.size()));
    INK_RETURN_IF_ERROR(plot->Commit());
  }
  if (report.failed > 0 && report.answered + report.empty + report.hung_up == 0) {
    return Unavailable("all " + std::to_string(report.failed) + " requests failed, the first with: " +
                       report.first_failure->kind + ": " + report.first_failure->message);
  }
  return Status::Ok();
}

}  // namespace inkstone

// inkstone serve: the API and the page.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <map>
#include <string>

#include "cli/session_options.h"
#include "core/units.h"
#include "server/server.h"

namespace inkstone {
namespace {

struct ServeOptions : SessionCommandOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
  int sequences = 8;
  int queue = 64;
  std::vector<std::string> origins;
  std::vector<std::string> hosts;
  bool quiet = false;
  PrefixReuse prefix = PrefixReuse::kAll;
  std::string cache_folder;
  std::string cache_size = "4GB";
};

void Declare(CLI::App* command, ServeOptions* o) {
  AddSessionOptions(command, o);
  command->add_option("--host", o->host, "Address to listen on")->capture_default_str();
  command->add_option("--port", o->port, "Port; 0 picks a free one")->capture_default_str();
  command->add_option("--sequences", o->sequences, "Answers generated at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command->add_option("--queue", o->queue, "Requests that may wait; one more is refused")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  const std::map<std::string, PrefixReuse> reuse = {
      {"off", PrefixReuse::kOff}, {"prompts", PrefixReuse::kPrompts}, {"all", PrefixReuse::kAll}};
  command
      ->add_option("--prefix-cache", o->prefix,
                   "What earlier requests computed and is used again: off, prompts (answers then never depend on what "
                   "was asked before), or all, answers too (default)")
      ->transform(CLI::CheckedTransformer(reuse).description(""));
  command->add_option("--cache-folder", o->cache_folder,
                      "Keep keys and values of long and repeated prompts in this folder, also over restarts. They tell "
                      "what was written to whoever can read it; default: nowhere");
  command->add_option("--cache-size", o->cache_size, "Most disk space for it")->capture_default_str()->check(IsBytes);
  command->add_option("--allow-origin", o->origins, "Further web origin that may call the API, or *");
  command->add_option("--allow-host", o->hosts, "Further Host name that is accepted");
  command->add_flag("--quiet", o->quiet, "No line for each request");
  command->footer("Example:\n  inkstone serve qwen3-4b.gguf --context 4096 --port 8080");
}

std::shared_ptr<spdlog::logger> MakeLogger() {
  auto logger = std::make_shared<spdlog::logger>("inkstone", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern("%Y-%m-%d %H:%M:%S %^%l%$ %v");
  return logger;
}

Status Run(const ServeOptions& o) {
  INK_ASSIGN_OR_RETURN(SessionOptions session_options, ToSessionOptions(o));
  session_options.max_sequences = o.sequences;
  session_options.max_queue = o.queue;
  session_options.prefix = o.prefix;
  session_options.cache_folder = o.cache_folder;
  INK_ASSIGN_OR_RETURN(session_options.cache_bytes, ParseBytes(o.cache_size));
  INK_ASSIGN_OR_RETURN(const auto session, Session::Open(session_options));

  ServerOptions options;
  options.host = o.host;
  options.port = o.port;
  options.allowed_origins = o.origins;
  options.allowed_hosts = o.hosts;
  options.access_log = !o.quiet;
  options.logger = MakeLogger();
  options.handle_signals = true;
  INK_ASSIGN_OR_RETURN(const auto server, Server::Create(*session, options));

  const SessionInfo& info = session->info();
  std::fprintf(stderr, "%s (%s, %s) on %s with %d threads%s\n%s", info.model_name.c_str(), info.architecture.c_str(),
               info.quantization.c_str(), info.backend.c_str(), info.threads, info.pinned ? ", pinned" : "",
               info.memory_report.c_str());
  // The one line on standard output, for scripts that wait for the server.
  std::printf("Inkstone is ready: http://%s:%d/\n", o.host.c_str(), server->port());
  std::fflush(stdout);
  return server->Run();
}

}  // namespace

void AddServeCommand(CLI::App* app, CommandBody* body) {
  AddCommand<ServeOptions>(app, body, "serve", "Serve a model: chat page and OpenAI-compatible API", Declare, Run);
}

}  // namespace inkstone

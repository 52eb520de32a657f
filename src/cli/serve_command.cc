// inkstone serve: the API and the page.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "cli/log_sink.h"
#include "cli/serve_options.h"
#include "core/printable.h"
#include "core/units.h"
#include "server/server.h"

namespace inkstone {
namespace {

std::shared_ptr<spdlog::logger> MakeLogger() {
  const bool colors = isatty(STDERR_FILENO) != 0;
  auto logger = std::make_shared<spdlog::logger>("inkstone", std::make_shared<LogSink>(STDERR_FILENO, colors));
  logger->set_pattern("%Y-%m-%d %H:%M:%S %^%l%$ %v");
  return logger;
}

// One line for each change of level, and what it means.
void LogMemoryLevel(spdlog::logger& logger, MemoryLevel before, const MemoryState& now) {
  static constexpr std::array<const char*, kMemoryLevels> kMeanings = {"all is as usual",
                                                                       "cached pages give way",
                                                                       "pages are handed to the page store",
                                                                       "requests wait while others run",
                                                                       "the last in order give up their pages",
                                                                       "new requests are refused"};
  const std::string left = (now.headroom < 0 ? "-" : "") + FormatBytes(static_cast<uint64_t>(std::llabs(now.headroom)));
  logger.log(now.level > before ? spdlog::level::warn : spdlog::level::info,
             "memory: {} -> {}: {}; headroom {}, {} pages may be in use", MemoryLevelName(before),
             MemoryLevelName(now.level), kMeanings[static_cast<size_t>(now.level)], left,
             now.page_limit < 0 ? "all" : std::to_string(now.page_limit));
}

void LogDisk(spdlog::logger& logger, PageFiles files, const std::string& trouble) {
  const char* option = files == PageFiles::kStore ? "--cache-folder" : "--spill-size";
  if (trouble.empty()) {
    logger.info("{}: pages are written again", option);
  } else {
    logger.warn("{}: pages are not written: {}", option, trouble);
  }
}

Status Run(const ServeOptions& o) {
  std::signal(SIGPIPE, SIG_IGN);  // whoever reads the log may go away
  INK_ASSIGN_OR_RETURN(SessionOptions session_options, ToSessionOptions(o));
  session_options.max_sequences = o.sequences;
  session_options.max_queue = o.queue;
  session_options.prefix = o.prefix;
  session_options.share = o.share;
  session_options.allow_priority = o.allow_priority;
  session_options.cache_folder = o.cache_folder;
  if (session_options.spill_bytes > 0 && o.spill_folder.empty() && !o.cache_folder.empty()) {
    INK_RETURN_IF_ERROR(CheckOnDisk("--cache-folder, for --spill-size", o.cache_folder));
  }
  INK_ASSIGN_OR_RETURN(session_options.cache_bytes, ParseBytes(o.cache_size));
  session_options.prompt_chunk = o.prompt_chunk;
  session_options.prefill_share = o.prefill_share;
  ServerOptions options;
  options.limits.connections = o.connections;
  options.logger = MakeLogger();
  session_options.connection_bytes = options.limits.MostBytes();
  session_options.memory_hooks.on_change = [logger = options.logger](MemoryLevel before, const MemoryState& now) {
    LogMemoryLevel(*logger, before, now);
  };
  session_options.on_disk = [logger = options.logger](PageFiles files, const std::string& trouble) {
    LogDisk(*logger, files, trouble);
  };
  options.host = o.host;
  options.port = o.port;
  options.allowed_origins = o.origins;
  options.allowed_hosts = o.hosts;
  options.no_auth = o.no_auth;
  options.limits.drain_grace = std::chrono::seconds(o.grace);
  INK_RETURN_IF_ERROR(Server::CheckHost(options));  // before a model is loaded for nothing
  INK_ASSIGN_OR_RETURN(const auto session, Session::Open(session_options));

  options.context_policy = o.context_policy;
  options.access_log = !o.quiet;
  options.handle_signals = true;
  INK_ASSIGN_OR_RETURN(const auto server, Server::Create(*session, options));

  const SessionInfo& info = session->info();
  PrintWarnings(info.warnings);
  std::fprintf(stderr, "%s (%s, %s) on %s with %d threads%s\n%s", Printable(info.model_name).c_str(),
               info.architecture.c_str(), info.quantization.c_str(), info.backend.c_str(), info.threads,
               info.pinned ? ", pinned" : "", info.memory_report.c_str());
  // The one line on standard output, for scripts that wait for the server.
  std::printf("Inkstone is ready: http://%s:%d/\n", HostInUrl(o.host).c_str(), server->port());
  std::fflush(stdout);
  return server->Run();
}

}  // namespace

void AddServeCommand(CLI::App* app, CommandBody* body) {
  AddCommand<ServeOptions>(app, body, "serve", "Serve a model: chat page and OpenAI-compatible API",
                           DeclareServeOptions, Run);
}

}  // namespace inkstone

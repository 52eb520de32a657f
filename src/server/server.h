// The HTTP server: OpenAI's API, metrics, and the page, in front of one Session.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "chat/context_policy.h"
#include "core/status.h"
#include "engine/session.h"
#include "server/assets.h"

namespace spdlog {
class logger;
}

namespace inkstone {

struct HttpLimits {
  size_t body_bytes = 4 << 20;       // larger bodies get 413
  uint32_t header_bytes = 64 << 10;  // larger heads get 431
  size_t output_bytes = 256 << 10;   // unsent bytes of one stream before a slow reader is dropped
  size_t buffer_bytes = 64 << 20;    // of all connections: bodies and their parsing, unsent answers
  int connections = 256;             // one more gets 503

  // Memory that connections take at most.
  uint64_t MostBytes() const;
  std::chrono::milliseconds header_timeout{30'000};  // for the whole head, from its first byte
  std::chrono::milliseconds body_timeout{60'000};    // for the whole body
  std::chrono::milliseconds body_stall{15'000};      // for each 4 KiB of it
  std::chrono::milliseconds stall_after{1'500};      // without 4 KiB more: makes room for another body
  std::chrono::milliseconds idle_timeout{75'000};    // between requests of one connection
  std::chrono::milliseconds yield_after{2'000};      // waiting for a request: makes room for a new connection
  std::chrono::milliseconds write_timeout{30'000};   // without any byte taken by the client
  std::chrono::milliseconds ping_interval{5'000};    // comments in a stream that has nothing to say
  std::chrono::milliseconds drain_grace{30'000};     // how long Stop() lets answers go on
};

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;  // 0: any free one
  HttpLimits limits;
  std::vector<std::string> allowed_origins;  // beside the page itself and localhost: "https://chat.example", or "*"
  std::vector<std::string> allowed_hosts;    // Host names beside localhost and addresses
  bool no_auth = false;                      // whoever reaches an address beyond loopback may use the server
  ContextPolicy context_policy;              // of requests that name none
  std::string reasoning_field = "reasoning_content";  // or "reasoning"
  AssetProvider assets = EmbeddedAssets();
  std::shared_ptr<spdlog::logger> logger;  // null: no log
  bool access_log = true;                  // one line for each request, at info
  // SIGINT and SIGTERM call Stop() and end the process soon after the grace time, whatever runs; a second one ends it
  // at once. SIGHUP is ignored.
  bool handle_signals = false;
};

// The session must outlive the server. One thread runs the connections, two prepare prompts.
class Server {
 public:
  // Binds and listens. kInvalidArgument for a host that does not resolve, kUnavailable for a port in use.
  static Result<std::unique_ptr<Server>> Create(Session& session, ServerOptions options);
  // kInvalidArgument where Create would refuse the host: it does not resolve, or is beyond loopback and neither
  // allowed_hosts nor no_auth says that this is meant.
  static Status CheckHost(const ServerOptions& options);
  virtual ~Server() = default;

  virtual uint16_t port() const = 0;
  // Serves until Stop() and until every answer has ended or the grace time is over. Call it once.
  virtual Status Run() = 0;
  // Thread-safe: closes the listener, refuses new generations, lets running answers finish; those that have not when
  // the grace time is over end in an error. A second call cuts them.
  virtual void Stop() = 0;
};

// A host as it stands in a URL: "[::1]" for "::1".
std::string HostInUrl(const std::string& host);

}  // namespace inkstone

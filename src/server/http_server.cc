// Server: the listener, the event loop and the drain.
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <set>

#include "server/connection.h"
#include "server/router.h"
#include "server/server.h"
#include "server/service.h"
#include "server/stop_signals.h"

namespace inkstone {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kWorkers = 2;
constexpr int kRefusals = 32;    // connections beyond the limit that get an answer at the same time
constexpr int kSpareFiles = 64;  // descriptors for anything but connections, beside what is open at the start
// How long answers that are ended have to reach their clients, and everything else to end after that.
constexpr auto kGoodbye = std::chrono::milliseconds(2000);
constexpr auto kLastLimit = std::chrono::seconds(3);

class AsioLoop final : public Loop {
 public:
  void Post(std::function<void()> task) override { asio::post(context, std::move(task)); }
  void Offload(std::function<void()> task) override { asio::post(workers, std::move(task)); }

  asio::io_context context{1};
  asio::thread_pool workers{kWorkers};
};

// One client may have half of it, and always room for one body of the largest size.
std::shared_ptr<BufferBudget> MakeBudget(const HttpLimits& limits) {
  const size_t all = limits.buffer_bytes;
  return std::make_shared<BufferBudget>(all,
                                        std::max(all / 2, std::min(all, Connection::WorkBytes(limits.body_bytes))));
}

class HttpServer final : public Server, public ConnectionOwner {
 public:
  HttpServer(Session& session, ServerOptions options, std::shared_ptr<AsioLoop> loop, tcp::acceptor acceptor)
      : loop_(loop),
        acceptor_(std::move(acceptor)),
        grace_(loop_->context),
        breath_(loop_->context),
        signals_(loop_->context),
        service_{.session = session, .options = std::move(options), .loop = std::move(loop)},
        buffers_(MakeBudget(service_.options.limits)) {
    service_.buffers = buffers_;
    error_code ignored;
    port_ = acceptor_.local_endpoint(ignored).port();
    rules_ = {.allowed_hosts = service_.options.allowed_hosts, .allowed_origins = service_.options.allowed_origins};
  }

  ~HttpServer() override {
    loop_->workers.stop();
    loop_->workers.join();
  }

  // From before anybody is told that the server is ready.
  Status CatchSignals() {
    const auto limit = limits().drain_grace + kGoodbye + kLastLimit;
    INK_ASSIGN_OR_RETURN(const int descriptor, CatchStopSignals(std::chrono::ceil<std::chrono::seconds>(limit)));
    error_code error;
    signals_.assign(dup(descriptor), error);
    if (error) return Unavailable("no descriptor for signals: " + error.message());
    signals_.async_wait(asio::posix::stream_descriptor::wait_read, [this](error_code failed) {
      if (!failed) StopOnLoop();
    });
    return Status::Ok();
  }

  uint16_t port() const override { return port_; }

  Status Run() override {
    asio::co_spawn(loop_->context, Accept(), asio::detached);
    while (true) {
      try {
        loop_->context.run();
        break;
      } catch (const std::exception& error) {  // of a task; the next one goes on
        if (auto& log = service_.options.logger) log->error("internal error: {}", error.what());
      }
    }
    loop_->workers.join();
    return Status::Ok();
  }

  void Stop() override {
    asio::post(loop_->context, [this] { StopOnLoop(); });
  }

 private:
  const HttpLimits& limits() const override { return service_.options.limits; }
  bool draining() const override { return service_.draining; }
  const std::shared_ptr<BufferBudget>& buffers() const override { return buffers_; }

  void Handle(const HttpRequest& request, std::shared_ptr<Exchange> exchange) override {
    Route(service_, rules_, request, std::move(exchange));
  }

  void OnRecord(const HttpRequest& request, const RequestRecord& record) override {
    service_.metrics.OnRequest(RouteName(request), record.status);
    auto& log = service_.options.logger;
    if (!log || !service_.options.access_log) return;
    log->info("{} {} {} {} {} bytes {:.1f} ms{}", request.address, request.method, request.path, record.status,
              record.bytes, record.seconds * 1e3, record.aborted ? " (client gone)" : "");
  }

  void OnTrouble(const char* what) override {
    if (auto& log = service_.options.logger) log->error("internal error: {}", what);
  }

  void OnBusy(bool busy) override {
    busy_ += busy ? 1 : -1;
    EndWhenIdle();
  }

  asio::awaitable<void> Accept() {
    while (acceptor_.is_open()) {
      bool pause = false;
      try {
        auto [error, socket] = co_await acceptor_.async_accept(kAwait);
        if (error == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
        if (!error) Welcome(std::move(socket));
        // Out of descriptors: who waits for nothing gives one up. Or the client was faster.
        pause = error && !(IsShortage(error) && MakeRoom());
      } catch (const std::exception& error) {  // no memory for this client; the next may be luckier
        OnTrouble(error.what());
        pause = true;
      }
      if (!pause) continue;
      breath_.expires_after(std::chrono::milliseconds(50));
      co_await breath_.async_wait(kAwait);
    }
  }

  static bool IsShortage(const error_code& error) {
    return error == asio::error::no_descriptors || error == boost::system::errc::too_many_files_open_in_system ||
           error == asio::error::no_memory || error == asio::error::no_buffer_space;
  }

  void Welcome(tcp::socket socket) {
    const auto open = static_cast<int>(connections_.size());
    if (open >= limits().connections + kRefusals) return;
    auto connection = std::make_shared<Connection>(std::move(socket), *this);
    connections_.insert(connection);
    const auto on_end = [this, connection] {
      connections_.erase(connection);
      service_.metrics.SetConnections(static_cast<int>(connections_.size()));
    };
    service_.metrics.SetConnections(open + 1);
    try {
      if (open >= limits().connections && !MakeRoom()) {
        connection->Refuse(on_end);
      } else {
        connection->Start(on_end);
      }
    } catch (...) {
      on_end();
      throw;
    }
  }

  bool EndStalledBody(const Connection& asking, bool same_client) override {
    std::shared_ptr<Connection> longest;
    for (const auto& connection : connections_) {
      const auto since = connection->stalled_since();
      if (!since || connection.get() == &asking || (same_client && !connection->SameClient(asking))) continue;
      if (!longest || *since < *longest->stalled_since()) longest = connection;
    }
    if (longest) longest->EndBody();
    return longest != nullptr;
  }

  // Ends the connection that has waited longest for a request: nobody who sends theirs has to wait for those who don't.
  bool MakeRoom() {
    std::shared_ptr<Connection> longest;
    auto since = std::chrono::steady_clock::now() - limits().yield_after;
    for (const auto& connection : connections_) {
      const auto reading = connection->reading_since();
      if (!reading || *reading > since) continue;
      since = *reading;
      longest = connection;
    }
    if (longest) longest->EndIfReading();
    return longest != nullptr;
  }

  void StopOnLoop() {
    if (service_.draining.exchange(true)) return AbortAll();
    if (auto& log = service_.options.logger) log->info("shutting down: {} answers in progress", busy_);
    error_code ignored;
    acceptor_.close(ignored);
    service_.session.engine().Drain();
    grace_.expires_after(limits().drain_grace);
    grace_.async_wait([this](error_code error) {
      if (!error) EndAll();
    });
    EndWhenIdle();
  }

  // The grace time is over: answers end in an error that says why, and those that nobody takes are cut.
  void EndAll() {
    grace_.expires_after(kGoodbye);
    grace_.async_wait([this](error_code error) {
      if (!error) AbortAll();
    });
    for (const auto& connection : std::set(connections_)) connection->EndAnswer();
  }

  // Once nothing is being answered, the connections that are left wait for nothing.
  void EndWhenIdle() {
    if (!service_.draining || busy_ > 0 || ended_) return;
    ended_ = true;
    grace_.cancel();
    error_code ignored;
    signals_.close(ignored);
    // A connection that has just answered says goodbye by itself; the others end here.
    asio::post(loop_->context, [this] { AbortIdle(); });
  }

  void AbortIdle() {
    for (const auto& connection : std::set(connections_)) connection->EndIfReading();
  }

  void AbortAll() {
    for (const auto& connection : std::set(connections_)) connection->Abort();
  }

  std::shared_ptr<AsioLoop> loop_;
  tcp::acceptor acceptor_;
  asio::steady_timer grace_;
  asio::steady_timer breath_;  // of the listener
  asio::posix::stream_descriptor signals_;
  Service service_;
  const std::shared_ptr<BufferBudget> buffers_;
  AccessRules rules_;
  uint16_t port_ = 0;
  int busy_ = 0;  // answers in progress
  bool ended_ = false;
  std::set<std::shared_ptr<Connection>> connections_;
};

// A name in brackets is an address of IPv6 as URLs have it.
std::string WithoutBrackets(const std::string& host) {
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  return bracketed ? host.substr(1, host.size() - 2) : host;
}

bool IsLoopback(const asio::ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).is_loopback();
  }
  return address.is_loopback();
}

// The addresses to try in turn, if all of them may be listened on.
Result<std::vector<tcp::endpoint>> Endpoints(asio::io_context& context, const ServerOptions& options) {
  error_code error;
  tcp::resolver resolver(context);
  const auto found =
      resolver.resolve(WithoutBrackets(options.host), std::to_string(options.port), tcp::resolver::passive, error);
  if (error) return InvalidArgument("host '" + options.host + "' does not resolve: " + error.message());
  std::vector<tcp::endpoint> endpoints;
  for (const auto& entry : found) endpoints.push_back(entry.endpoint());
  if (options.no_auth || !options.allowed_hosts.empty()) return endpoints;
  for (const tcp::endpoint& endpoint : endpoints) {
    if (IsLoopback(endpoint.address())) continue;
    return InvalidArgument(
        "--host " + options.host +
        " can be reached from other computers, and the server asks nobody for a key: add --allow-host "
        "NAME for the name it is reached by, or --no-auth if addresses will do, or keep to 127.0.0.1");
  }
  return endpoints;
}

Result<tcp::acceptor> Listen(asio::io_context& context, const ServerOptions& options) {
  error_code error;
  INK_ASSIGN_OR_RETURN(const auto endpoints, Endpoints(context, options));
  for (const tcp::endpoint& endpoint : endpoints) {
    tcp::acceptor acceptor(context);
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (!error) return acceptor;
  }
  return Unavailable("cannot listen on " + options.host + " port " + std::to_string(options.port) + ": " +
                     error.message() + "; choose another port");
}

int OpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  return error ? 0 : static_cast<int>(std::distance(begin(files), end(files)));
}

// Raises the limit of descriptors as far as the system lets this process, and takes fewer connections where it is too
// low for all of them.
Status FitDescriptors(ServerOptions* options) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return Status::Ok();
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  const auto files = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, 1 << 30));
  const int64_t others = OpenFiles() + kRefusals + kSpareFiles;
  const int64_t room = files - others;
  if (room >= options->limits.connections) return Status::Ok();
  if (room < 1) {
    return InvalidArgument("the limit of open files is " + std::to_string(files) + ", and serving takes at least " +
                           std::to_string(others + 1) + ": raise it with 'ulimit -n'");
  }
  if (auto& log = options->logger) {
    log->warn("the limit of open files is {}: {} connections instead of {}; raise it with 'ulimit -n'", files, room,
              options->limits.connections);
  }
  options->limits.connections = static_cast<int>(room);
  return Status::Ok();
}

}  // namespace

uint64_t HttpLimits::MostBytes() const {
  return buffer_bytes + static_cast<uint64_t>(connections + kRefusals) * Connection::FixedBytes(*this);
}

Result<std::unique_ptr<Server>> Server::Create(Session& session, ServerOptions options) {
  if (options.reasoning_field != "reasoning_content" && options.reasoning_field != "reasoning") {
    return InvalidArgument("reasoning_field: expected \"reasoning_content\" or \"reasoning\", found \"" +
                           options.reasoning_field + "\"");
  }
  INK_RETURN_IF_ERROR(FitDescriptors(&options));
  const bool handle_signals = options.handle_signals;
  auto loop = std::make_shared<AsioLoop>();
  INK_ASSIGN_OR_RETURN(auto acceptor, Listen(loop->context, options));
  auto server = std::make_unique<HttpServer>(session, std::move(options), std::move(loop), std::move(acceptor));
  if (handle_signals) INK_RETURN_IF_ERROR(server->CatchSignals());
  return std::unique_ptr<Server>(std::move(server));
}

Status Server::CheckHost(const ServerOptions& options) {
  asio::io_context context;
  return Endpoints(context, options).status();
}

std::string HostInUrl(const std::string& host) {
  const std::string name = WithoutBrackets(host);
  return name.find(':') == std::string::npos ? name : "[" + name + "]";
}

}  // namespace inkstone

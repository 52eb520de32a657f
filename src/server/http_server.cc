// Server: the listener, the event loop and the drain.
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <set>

#include "server/connection.h"
#include "server/router.h"
#include "server/server.h"
#include "server/service.h"

namespace inkstone {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kWorkers = 2;
constexpr int kRefusals = 32;  // connections beyond the limit that get an answer at the same time

class AsioLoop final : public Loop {
 public:
  void Post(std::function<void()> task) override { asio::post(context, std::move(task)); }
  void Offload(std::function<void()> task) override { asio::post(workers, std::move(task)); }

  asio::io_context context{1};
  asio::thread_pool workers{kWorkers};
};

class HttpServer final : public Server, public ConnectionOwner {
 public:
  HttpServer(Session& session, ServerOptions options, std::shared_ptr<AsioLoop> loop, tcp::acceptor acceptor)
      : loop_(loop),
        acceptor_(std::move(acceptor)),
        grace_(loop_->context),
        signals_(loop_->context),
        service_{.session = session, .options = std::move(options), .loop = std::move(loop)},
        buffers_(std::make_shared<BufferBudget>(service_.options.limits.buffer_bytes)) {
    service_.buffers = buffers_;
    error_code ignored;
    const auto local = acceptor_.local_endpoint(ignored);
    port_ = local.port();
    rules_ = {.loopback = local.address().is_loopback(),
              .allowed_hosts = service_.options.allowed_hosts,
              .allowed_origins = service_.options.allowed_origins};
  }

  ~HttpServer() override {
    loop_->workers.stop();
    loop_->workers.join();
  }

  uint16_t port() const override { return port_; }

  Status Run() override {
    asio::co_spawn(loop_->context, Accept(), asio::detached);
    if (service_.options.handle_signals) WaitForSignal();
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

  void OnBusy(bool busy) override {
    busy_ += busy ? 1 : -1;
    EndWhenIdle();
  }

  asio::awaitable<void> Accept() {
    while (acceptor_.is_open()) {
      auto [error, socket] = co_await acceptor_.async_accept(kAwait);
      if (error == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
      if (error) {  // out of file descriptors, or the client was faster: go on after a breath
        asio::steady_timer pause(loop_->context, std::chrono::milliseconds(50));
        co_await pause.async_wait(kAwait);
        continue;
      }
      Welcome(std::move(socket));
    }
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
    if (open >= limits().connections && !MakeRoom()) {
      connection->Refuse(on_end);
    } else {
      connection->Start(on_end);
    }
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

  void WaitForSignal() {
    error_code ignored;
    signals_.add(SIGINT, ignored);
    signals_.add(SIGTERM, ignored);
    signals_.async_wait([this](error_code error, int) {
      if (error) return;
      StopOnLoop();
      if (!ended_) WaitForSignal();  // a second signal cancels what still runs
    });
  }

  void StopOnLoop() {
    if (service_.draining.exchange(true)) return AbortAll();
    if (auto& log = service_.options.logger) log->info("shutting down: {} answers in progress", busy_);
    error_code ignored;
    acceptor_.close(ignored);
    service_.session.engine().Drain();
    grace_.expires_after(limits().drain_grace);
    grace_.async_wait([this](error_code error) {
      if (!error) AbortAll();
    });
    EndWhenIdle();
  }

  // Once nothing is being answered, the connections that are left wait for nothing.
  void EndWhenIdle() {
    if (!service_.draining || busy_ > 0 || ended_) return;
    ended_ = true;
    grace_.cancel();
    error_code ignored;
    signals_.cancel(ignored);
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
  asio::signal_set signals_;
  Service service_;
  const std::shared_ptr<BufferBudget> buffers_;
  AccessRules rules_;
  uint16_t port_ = 0;
  int busy_ = 0;  // answers in progress
  bool ended_ = false;
  std::set<std::shared_ptr<Connection>> connections_;
};

Result<tcp::acceptor> Listen(asio::io_context& context, const ServerOptions& options) {
  error_code error;
  tcp::resolver resolver(context);
  const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error) return InvalidArgument("host '" + options.host + "' does not resolve: " + error.message());
  for (const auto& entry : found) {
    tcp::acceptor acceptor(context);
    acceptor.open(entry.endpoint().protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(entry.endpoint(), error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (!error) return acceptor;
  }
  return Unavailable("cannot listen on " + options.host + " port " + std::to_string(options.port) + ": " +
                     error.message() + "; choose another port");
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
  auto loop = std::make_shared<AsioLoop>();
  INK_ASSIGN_OR_RETURN(auto acceptor, Listen(loop->context, options));
  return std::unique_ptr<Server>(
      std::make_unique<HttpServer>(session, std::move(options), std::move(loop), std::move(acceptor)));
}

}  // namespace inkstone

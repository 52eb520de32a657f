#include "server/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>

#include "server/api_error.h"
#include "server/connection_exchange.h"

namespace inkstone {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadAhead = 16 << 10;  // bytes of further requests taken while one is answered
constexpr size_t kOwnBytes = 16 << 10;   // the connection and its coroutine
// Bytes that the kernel keeps for a client that does not take them. Without this it is megabytes, which count as ours.
constexpr int kKernelUnsent = 32 << 10;
constexpr auto kLook = std::chrono::milliseconds(250);  // how often the client of a running answer is looked at
// When a client that may be gone gets its first byte of the answer in advance; twice as long for each further one.
constexpr auto kFirstProbe = std::chrono::milliseconds(250);

// An option that only makes things better.
void SetOption(asio::ip::tcp::socket& socket, int level, int name, int value) {
  setsockopt(socket.native_handle(), level, name, &value, sizeof value);
}

// Counts an answer for its owner as long as it is under way, however it ends.
class Busy {
 public:
  explicit Busy(ConnectionOwner& owner) : owner_(owner) { owner_.OnBusy(true); }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() { owner_.OnBusy(false); }

 private:
  ConnectionOwner& owner_;
};

// One client is one IPv4 address, or what one host of IPv6 has: 64 bits of it.
std::string ClientName(const asio::ip::address& address) {
  if (!address.is_v6()) return address.to_string();
  auto bytes = address.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), 0);
  return asio::ip::address_v6(bytes).to_string();
}

asio::ip::address Unmapped(const asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
}

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, ConnectionOwner& owner)
    : socket_(std::move(socket)),
      owner_(owner),
      buffer_(owner.limits().header_bytes + 2 * kReadAhead),
      wake_(socket_.get_executor()),
      deadline_(socket_.get_executor()) {
  error_code error;
  const auto peer = socket_.remote_endpoint(error);
  if (!error) {
    const auto address = Unmapped(peer.address());
    address_ = address.to_string();
    client_ = owner_.buffers()->ClientNamed(ClientName(address));
  }
  body_ = BufferShare(owner_.buffers(), client_);
  SetOption(socket_, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(socket_, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kKernelUnsent);
  // A client whose machine or network is gone says nothing at all: it is asked whether it is there.
  SetOption(socket_, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(socket_, IPPROTO_TCP, TCP_KEEPIDLE, 20);
  SetOption(socket_, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  SetOption(socket_, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

Connection::~Connection() = default;

size_t Connection::FixedBytes(const HttpLimits& limits) {
  return limits.header_bytes + 2 * kReadAhead + kOwnBytes + ConnectionExchange::kFreeBytes;
}

void Connection::Start(std::function<void()> on_end) {
  asio::co_spawn(socket_.get_executor(), Serve(),
                 [self = shared_from_this(), on_end = std::move(on_end)](std::exception_ptr) {
                   self->Abort();
                   on_end();
                 });
}

void Connection::Refuse(std::function<void()> on_end) {
  asio::co_spawn(socket_.get_executor(), RefuseAndClose(),
                 [self = shared_from_this(), on_end = std::move(on_end)](std::exception_ptr) {
                   self->Abort();
                   on_end();
                 });
}

asio::awaitable<void> Connection::RefuseAndClose() {
  co_await WriteError(503, "too many connections; try again later", "too_many_connections");
  co_await Linger();
}

void Connection::Abort() {
  ClientGone();
  ClearDeadline();
}

void Connection::EndIfReading() {
  if (reading_) Abort();
}

std::optional<std::chrono::steady_clock::time_point> Connection::reading_since() const {
  return reading_ && !gone_ ? std::optional(reading_since_) : std::nullopt;
}

void Connection::EndAnswer() {
  if (exchange_ && in_answer_) {
    keep_alive_ = false;
    exchange_->EndWith({.status = 503,
                        .message = "the server is shutting down; the answer is not complete",
                        .type = "server_error",
                        .code = "unavailable",
                        .retry_after = 2});
  }
}

void Connection::ReleaseBody() {
  if (answered_ != nullptr) answered_->body = std::string();
  body_.Clear();
}

void Connection::Reset() {
  error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  ClientGone();
}

void Connection::ClientGone() {
  gone_ = true;
  if (exchange_) exchange_->Abort();
  error_code ignored;
  socket_.close(ignored);
  Wake();
}

void Connection::SetDeadline(Milliseconds after) {
  const uint64_t epoch = ++deadline_epoch_;
  timed_out_ = false;
  deadline_.expires_after(after);
  deadline_.async_wait([weak = weak_from_this(), epoch](error_code error) {
    const auto self = weak.lock();
    if (error || !self || self->deadline_epoch_ != epoch) return;
    self->timed_out_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

void Connection::ClearDeadline() {
  ++deadline_epoch_;
  deadline_.cancel();
}

asio::awaitable<void> Connection::Serve() {
  try {
    co_await ServeAll();
    co_return;
  } catch (const std::exception& error) {
    owner_.OnTrouble(error.what());
  }
  reading_ = reading_body_ = false;
  LastWords();
  if (exchange_) {
    exchange_->Abort();
    exchange_->Detach();
  }
  in_answer_ = false;
  answered_ = nullptr;
  exchange_.reset();
  body_.Clear();
  stop_watch_.emit(asio::cancellation_type::all);
  co_await Linger();
}

asio::awaitable<void> Connection::ServeAll() {
  bool first = true;
  while (!gone_) {
    written_ = 0;
    HttpRequest request;
    reading_ = true;
    reading_since_ = std::chrono::steady_clock::now();
    const ReadOutcome outcome = co_await Read(&request, first);
    reading_ = false;
    first = false;
    if (outcome == ReadOutcome::kClosed || gone_) co_return;
    if (outcome == ReadOutcome::kError) {
      co_await WriteError(error_status_, error_message_, error_code_);
      owner_.OnRecord(request, {.status = error_status_});
      co_await Linger();
      co_return;
    }
    const bool usable = co_await Answer(request);
    body_.Clear();
    if (!usable) co_return;
    if (!keep_alive_) {
      co_await Linger();
      co_return;
    }
  }
}

asio::awaitable<bool> Connection::Answer(HttpRequest& request) {
  const auto begin = std::chrono::steady_clock::now();
  if (owner_.draining()) keep_alive_ = false;
  exchange_ =
      std::make_shared<ConnectionExchange>(*this,
                                           ConnectionExchange::Options{.http_1_0 = request.minor == 0,
                                                                       .head_only = request.method == "HEAD",
                                                                       .keep_alive = keep_alive_,
                                                                       .output_limit = owner_.limits().output_bytes},
                                           BufferShare(owner_.buffers(), client_));
  const auto exchange = exchange_;
  const Busy busy(owner_);
  in_answer_ = true;
  probes_ = 0;
  last_output_ = next_probe_ = begin;
  answered_ = &request;
  owner_.Handle(request, exchange);
  if (!exchange->finished()) StartWatch();
  const bool delivered = co_await Pump(*exchange);
  in_answer_ = false;
  answered_ = nullptr;
  exchange->Detach();
  exchange_.reset();
  if (!exchange->keep_alive() || owner_.draining()) keep_alive_ = false;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  owner_.OnRecord(request, {.status = exchange->status(),
                            .bytes = exchange->body_bytes(),
                            .seconds = seconds.count(),
                            .aborted = !delivered});
  co_await StopWatch();
  co_return delivered;
}

asio::awaitable<bool> Connection::Pump(ConnectionExchange& exchange) {
  while (true) {
    if (exchange.overflowed()) Reset();
    if (gone_) {
      exchange.Abort();
      co_return false;
    }
    if (exchange.HasOutput()) {
      const std::string bytes = exchange.TakeOutput();
      const bool written = co_await WriteAll(bytes);
      exchange.OnWritten();
      if (!written) Reset();
      continue;
    }
    if (exchange.finished()) co_return true;
    co_await Wait(exchange);
  }
}

asio::awaitable<void> Connection::Wait(ConnectionExchange& exchange) {
  const auto now = std::chrono::steady_clock::now();
  if (ClientIsDoubtful() && now >= next_probe_) {
    next_probe_ = now + kFirstProbe * (1 << std::min(probes_++, 8));
    co_return co_await Probe(exchange);
  }
  const auto ping = last_output_ + owner_.limits().ping_interval;
  if (exchange.wants_pings() && now >= ping) co_return exchange.Ping();
  auto next = now + kLook;
  if (exchange.wants_pings()) next = std::min(next, ping);
  if (ClientIsDoubtful()) next = std::min(next, next_probe_);
  wake_.expires_at(next);
  const auto [error] = co_await wake_.async_wait(kAwait);
  if (!error) LookAtPeer();
}

// With as many bytes behind the request as are read ahead, the end behind them can't be read.
bool Connection::ClientIsDoubtful() const { return half_closed_ || buffer_.size() >= kReadAhead; }

void Connection::LookAtPeer() {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (gone_ || getsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return;
  if (info.tcpi_state == TCP_CLOSE) ClientGone();
  if (info.tcpi_state == TCP_CLOSE_WAIT) half_closed_ = true;
}

asio::awaitable<void> Connection::Probe(ConnectionExchange& exchange) {
  if (exchange.wants_pings()) co_return exchange.Ping();
  const std::string_view bytes = exchange.TakeBeginning();
  const bool written = co_await WriteAll(bytes);
  if (!written) Reset();
}

asio::awaitable<bool> Connection::WriteAll(std::string_view bytes) {
  while (!bytes.empty()) {
    SetDeadline(owner_.limits().write_timeout);
    const auto [error, written] = co_await socket_.async_write_some(asio::buffer(bytes.data(), bytes.size()), kAwait);
    ClearDeadline();
    if (error) co_return false;
    bytes.remove_prefix(written);
    written_ += written;
    last_output_ = std::chrono::steady_clock::now();
  }
  co_return true;
}

asio::awaitable<void> Connection::WriteError(int status, std::string_view message, std::string code) {
  ApiError error{.status = status, .message = std::string(message), .code = std::move(code)};
  if (status == 503) {
    error.type = "server_error";
    error.retry_after = 2;
  }
  const std::string text = RenderResponse(ErrorResponse(error), {.keep_alive = false}, {});
  co_await WriteAll(text);
}

void Connection::LastWords() {
  static constexpr std::string_view kText =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 136\r\n"
      "Connection: close\r\nRetry-After: 2\r\nContent-Security-Policy: frame-ancestors 'none'\r\n\r\n"
      "{\"error\":{\"message\":\"there is no memory for this request; try again later\","
      "\"type\":\"server_error\",\"param\":null,\"code\":\"memory_pressure\"}}";
  static_assert(kText.size() - kText.find("\r\n\r\n") - 4 == 136);
  if (gone_ || written_ > (exchange_ ? exchange_->beginning() : 0)) return;  // an answer has begun
  static_cast<void>(
      ::send(socket_.native_handle(), kText.data() + written_, kText.size() - written_, MSG_DONTWAIT | MSG_NOSIGNAL));
}

asio::awaitable<void> Connection::Linger() {
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  constexpr size_t kMaxDiscarded = 8 << 20;
  std::array<char, 8192> scratch;
  size_t discarded = 0;
  SetDeadline(Milliseconds(1000));
  while (!gone_ && !timed_out_ && discarded < kMaxDiscarded) {
    const auto [error, bytes] = co_await socket_.async_read_some(asio::buffer(scratch), kAwait);
    if (error) break;
    discarded += bytes;
  }
  ClearDeadline();
  socket_.close(ignored);
}

// Reads ahead while an answer is under way. Bytes belong to the next request. An end of the stream may be all of the
// client's going or only its having said everything: that is for Probe to tell. An error is the client's going.
void Connection::StartWatch() {
  if (half_closed_) return;
  const auto room = buffer_.prepare(4096);
  watching_ = true;
  socket_.async_read_some(room, asio::bind_cancellation_slot(
                                    stop_watch_.slot(), [self = shared_from_this()](error_code error, size_t bytes) {
                                      self->watching_ = false;
                                      self->buffer_.commit(error ? 0 : bytes);
                                      if (error == asio::error::eof) {
                                        self->half_closed_ = true;
                                      } else if (error && error != asio::error::operation_aborted) {
                                        self->ClientGone();
                                      } else if (!error && self->in_answer_ && self->buffer_.size() < kReadAhead) {
                                        self->StartWatch();
                                      }
                                      self->Wake();
                                    }));
}

asio::awaitable<void> Connection::StopWatch() {
  stop_watch_.emit(asio::cancellation_type::all);
  while (watching_) {
    wake_.expires_after(std::chrono::hours(24));
    co_await wake_.async_wait(kAwait);
  }
}

}  // namespace inkstone

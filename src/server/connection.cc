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
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <exception>

#include "server/api_error.h"
#include "server/connection_exchange.h"
#include "server/router.h"

namespace inkstone {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadAhead = 16 << 10;  // bytes of further requests taken while one is answered
constexpr size_t kOwnBytes = 16 << 10;   // the connection and its coroutine
// While a body of JSON is parsed, rendered and tokenized it is there several times over.
constexpr size_t kBodyCopies = 8;
// Bytes that the kernel keeps for a client that does not take them. Without this it is megabytes, which count as ours.
constexpr int kKernelUnsent = 32 << 10;
using Parser = http::request_parser<http::string_body>;

std::string LowerCase(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool ConvertRequest(Parser& parser, HttpRequest* request) {
  auto& message = parser.get();
  request->method = std::string_view(message.method_string().data(), message.method_string().size());
  request->minor = static_cast<int>(message.version() % 10);
  for (const auto& field : message) {
    request->headers.emplace_back(LowerCase({field.name_string().data(), field.name_string().size()}),
                                  std::string(field.value().data(), field.value().size()));
  }
  request->body = std::move(message.body());
  return ParseTarget({message.target().data(), message.target().size()}, request);
}

bool IsDisconnect(const error_code& error) {
  return error == http::error::end_of_stream || error == http::error::partial_message ||
         error.category() == asio::error::get_system_category() || error.category() == asio::error::get_misc_category();
}

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, ConnectionOwner& owner)
    : socket_(std::move(socket)),
      owner_(owner),
      buffer_(owner.limits().header_bytes + 2 * kReadAhead),
      body_(owner.buffers()),
      wake_(socket_.get_executor()),
      deadline_(socket_.get_executor()) {
  error_code error;
  const auto peer = socket_.remote_endpoint(error);
  if (!error) address_ = peer.address().to_string();
  socket_.set_option(asio::ip::tcp::no_delay(true), error);
  setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kKernelUnsent, sizeof kKernelUnsent);
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
  bool first = true;
  while (!gone_) {
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
    static_cast<void>(body_.Resize(0));
    if (!usable) co_return;
    if (!keep_alive_) {
      co_await Linger();
      co_return;
    }
  }
}

asio::awaitable<Connection::ReadOutcome> Connection::Read(HttpRequest* request, bool first) {
  const HttpLimits& limits = owner_.limits();
  request->address = address_;
  if (buffer_.size() == 0) {
    SetDeadline(first ? limits.header_timeout : limits.idle_timeout);
    const auto [error] = co_await socket_.async_wait(asio::ip::tcp::socket::wait_read, kAwait);
    ClearDeadline();
    if (error) co_return ReadOutcome::kClosed;
  }
  Parser parser;
  parser.header_limit(limits.header_bytes);
  parser.body_limit(limits.body_bytes);
  const auto fail = [this](int status, std::string message) {
    error_status_ = status;
    error_message_ = std::move(message);
    return ReadOutcome::kError;
  };
  const auto explain = [&](const error_code& error) {
    if (timed_out_) return fail(408, "the request did not arrive in time");
    if (error == http::error::body_limit) {
      return fail(413, "the body is larger than the " + std::to_string(limits.body_bytes) + " bytes that are allowed");
    }
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      return fail(431,
                  "the head is larger than the " + std::to_string(limits.header_bytes) + " bytes that are allowed");
    }
    if (gone_ || IsDisconnect(error)) return ReadOutcome::kClosed;
    return fail(400, "this is not an HTTP/1.x request: " + error.message());
  };

  SetDeadline(limits.header_timeout);
  const auto [head_error, head_bytes] = co_await http::async_read_header(socket_, buffer_, parser, kAwait);
  ClearDeadline();
  static_cast<void>(head_bytes);
  if (head_error) co_return explain(head_error);
  // A body without a length may be as long as one may be.
  const size_t body_size = parser.content_length().value_or(parser.chunked() ? limits.body_bytes : 0);
  if (!body_.Resize(kBodyCopies * std::min(body_size, limits.body_bytes))) {
    error_code_ = "memory_pressure";
    co_return fail(503, "too many large requests at once; try again later");
  }

  if (boost::beast::iequals(parser.get()[http::field::expect], "100-continue") && !parser.is_done()) {
    const bool written = co_await WriteAll("HTTP/1.1 100 Continue\r\n\r\n");
    if (!written) co_return ReadOutcome::kClosed;
  }
  SetDeadline(limits.body_timeout);
  const auto [body_error, body_bytes] = co_await http::async_read(socket_, buffer_, parser, kAwait);
  ClearDeadline();
  static_cast<void>(body_bytes);
  if (body_error) co_return explain(body_error);

  keep_alive_ = parser.get().keep_alive();
  if (!ConvertRequest(parser, request)) co_return fail(400, "the request target must be an absolute path");
  co_return ReadOutcome::kRequest;
}

asio::awaitable<bool> Connection::Answer(const HttpRequest& request) {
  const auto begin = std::chrono::steady_clock::now();
  if (owner_.draining()) keep_alive_ = false;
  exchange_ =
      std::make_shared<ConnectionExchange>(*this,
                                           ConnectionExchange::Options{.http_1_0 = request.minor == 0,
                                                                       .head_only = request.method == "HEAD",
                                                                       .keep_alive = keep_alive_,
                                                                       .output_limit = owner_.limits().output_bytes},
                                           owner_.buffers());
  const auto exchange = exchange_;
  owner_.OnBusy(true);
  in_answer_ = true;
  owner_.Handle(request, exchange);
  if (!exchange->finished()) StartWatch();
  const bool delivered = co_await Pump(*exchange);
  in_answer_ = false;
  exchange->Detach();
  exchange_.reset();
  if (!exchange->keep_alive() || owner_.draining()) keep_alive_ = false;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  owner_.OnRecord(request, {.status = exchange->status(),
                            .bytes = exchange->body_bytes(),
                            .seconds = seconds.count(),
                            .aborted = !delivered});
  co_await StopWatch();
  owner_.OnBusy(false);
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
    wake_.expires_after(exchange.wants_pings() ? owner_.limits().ping_interval : std::chrono::hours(24));
    const auto [error] = co_await wake_.async_wait(kAwait);
    if (!error && exchange.wants_pings() && !exchange.HasOutput()) exchange.Ping();
  }
}

asio::awaitable<bool> Connection::WriteAll(std::string_view bytes) {
  while (!bytes.empty()) {
    SetDeadline(owner_.limits().write_timeout);
    const auto [error, written] = co_await socket_.async_write_some(asio::buffer(bytes.data(), bytes.size()), kAwait);
    ClearDeadline();
    if (error) co_return false;
    bytes.remove_prefix(written);
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

// Reads ahead while an answer is under way: an end of the stream means that nobody waits for it any more, other bytes
// belong to the next request.
void Connection::StartWatch() {
  watching_ = true;
  socket_.async_read_some(
      buffer_.prepare(4096),
      asio::bind_cancellation_slot(stop_watch_.slot(), [self = shared_from_this()](error_code error, size_t bytes) {
        self->watching_ = false;
        self->buffer_.commit(error ? 0 : bytes);
        if (error && error != asio::error::operation_aborted) {
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

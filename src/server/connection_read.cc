// Connection: reading a request.
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <cctype>

#include "server/connection.h"
#include "server/request_framing.h"
#include "server/router.h"

namespace inkstone {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = 16 << 10;
// A body that is read is a string that grows. While JSON is parsed, rendered and tokenized it is there several times.
constexpr size_t kReadCopies = 2;
constexpr size_t kWorkCopies = 8;
constexpr size_t kProgress = 4 << 10;  // bytes of a body that count as its coming on

std::string LowerCase(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool IsDisconnect(const error_code& error) {
  return error == http::error::end_of_stream || error == http::error::partial_message ||
         error.category() == asio::error::get_system_category() || error.category() == asio::error::get_misc_category();
}

}  // namespace

class Connection::Parser : public http::request_parser<GrowingBody> {};

namespace {

// Method, target and headers; what may follow a chunked body is no header. False for a target that is no path.
template <class Message>
bool ConvertHead(const Message& message, HttpRequest* request) {
  request->method = std::string_view(message.method_string().data(), message.method_string().size());
  request->minor = static_cast<int>(message.version() % 10);
  for (const auto& field : message) {
    request->headers.emplace_back(LowerCase({field.name_string().data(), field.name_string().size()}),
                                  std::string(field.value().data(), field.value().size()));
  }
  return ParseTarget({message.target().data(), message.target().size()}, request);
}

}  // namespace

Connection::ReadOutcome Connection::Fail(int status, std::string message, std::string code) {
  error_status_ = status;
  error_message_ = std::move(message);
  error_code_ = std::move(code);
  return ReadOutcome::kError;
}

Connection::ReadOutcome Connection::Explain(const error_code& error) {
  const HttpLimits& limits = owner_.limits();
  if (gone_) return ReadOutcome::kClosed;
  if (body_ended_) return Fail(408, "the body stopped arriving, and others needed its room");
  if (timed_out_) return Fail(408, "the request did not arrive in time");
  if (error == boost::system::errc::not_enough_memory) {
    return Fail(503, "too many large requests at once; try again later", "memory_pressure");
  }
  if (error == http::error::body_limit) {
    return Fail(413, "the body is larger than the " + std::to_string(limits.body_bytes) + " bytes that are allowed");
  }
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return Fail(431, "the head is larger than the " + std::to_string(limits.header_bytes) + " bytes that are allowed");
  }
  if (error == http::error::bad_line_ending) {
    return Fail(400, "a header goes on in the next line, which HTTP/1.1 does not allow any more");
  }
  if (IsDisconnect(error)) return ReadOutcome::kClosed;
  return Fail(400, "this is not an HTTP/1.x request: " + error.message());
}

asio::awaitable<Connection::ReadOutcome> Connection::Read(HttpRequest* request, bool first) {
  const HttpLimits& limits = owner_.limits();
  request->address = address_;
  if (buffer_.size() == 0 && !half_closed_) {
    SetDeadline(first ? limits.header_timeout : limits.idle_timeout);
    const auto [error] = co_await socket_.async_wait(asio::ip::tcp::socket::wait_read, kAwait);
    ClearDeadline();
    if (error) co_return ReadOutcome::kClosed;
  }
  Parser parser;
  parser.header_limit(limits.header_bytes);
  parser.body_limit(limits.body_bytes);
  SetDeadline(limits.header_timeout);
  const error_code head_error = co_await ReadHead(parser);
  ClearDeadline();
  if (head_error) co_return Explain(head_error);
  const bool has_path = ConvertHead(parser.get(), request);
  if (auto error = CheckFraming(*request)) co_return Fail(error->status, std::move(error->message));
  if (!has_path) co_return Fail(400, "the request target must be an absolute path");
  keep_alive_ = parser.get().keep_alive();

  if (boost::beast::iequals(parser.get()[http::field::expect], "100-continue") && !parser.is_done()) {
    const bool written = co_await WriteAll("HTTP/1.1 100 Continue\r\n\r\n");
    if (!written) co_return ReadOutcome::kClosed;
    written_ = 0;
  }
  reading_body_ = true;
  const error_code body_error = co_await ReadBody(parser);
  reading_body_ = false;
  ClearDeadline();
  if (body_error) co_return Explain(body_error);
  request->body = std::move(parser.get().body());
  co_return ReadOutcome::kRequest;
}

asio::awaitable<error_code> Connection::ReadSome() {
  const size_t room = buffer_.max_size() - buffer_.size();
  if (room == 0) co_return http::error::buffer_overflow;
  const auto [error, bytes] = co_await socket_.async_read_some(buffer_.prepare(std::min(room, kReadBytes)), kAwait);
  buffer_.commit(bytes);
  if (error == asio::error::eof) half_closed_ = true;
  co_return error;
}

asio::awaitable<error_code> Connection::ReadHead(Parser& parser) {
  size_t searched = 0;
  while (true) {
    const auto data = buffer_.cdata();
    const std::string_view bytes(static_cast<const char*>(data.data()), data.size());
    const size_t end = bytes.find("\r\n\r\n", searched);
    if (end != std::string_view::npos) {
      if (HasFoldedLine(bytes.substr(0, end))) co_return http::error::bad_line_ending;
      error_code error;
      buffer_.consume(parser.put(buffer_.data(), error));
      co_return error;
    }
    if (bytes.size() >= owner_.limits().header_bytes) co_return http::error::header_limit;
    searched = bytes.size() < 3 ? 0 : bytes.size() - 3;
    const error_code error = co_await ReadSome();
    if (error) co_return error;
  }
}

asio::awaitable<error_code> Connection::ReadBody(Parser& parser) {
  const HttpLimits& limits = owner_.limits();
  const auto begin = std::chrono::steady_clock::now();
  body_progress_ = begin;
  progress_bytes_ = 0;
  body_ended_ = false;
  parser.eager(true);
  bool fed = true;
  while (!parser.is_done()) {
    if (buffer_.size() == 0 || !fed) {
      const auto end = std::min(begin + limits.body_timeout, body_progress_ + limits.body_stall);
      SetDeadline(std::chrono::ceil<Milliseconds>(end - std::chrono::steady_clock::now()));
      const error_code error = co_await ReadSome();
      if (error) co_return error;
    }
    if (body_ended_ || gone_) co_return asio::error::operation_aborted;
    if (!HoldBody(kReadCopies * (parser.get().body().size() + buffer_.size()))) {
      co_return make_error_code(boost::system::errc::not_enough_memory);
    }
    error_code error;
    const size_t used = parser.put(buffer_.data(), error);
    buffer_.consume(used);
    if (error && error != http::error::need_more) co_return error;
    fed = used > 0;
    const size_t size = parser.get().body().size();
    if (size >= progress_bytes_ + kProgress) {
      progress_bytes_ = size;
      body_progress_ = std::chrono::steady_clock::now();
    }
  }
  if (!HoldBody(WorkBytes(parser.get().body().size()))) {
    co_return make_error_code(boost::system::errc::not_enough_memory);
  }
  co_return error_code();
}

size_t Connection::WorkBytes(size_t body) { return kWorkCopies * body; }

bool Connection::HoldBody(size_t bytes) {
  while (!body_.Resize(bytes)) {
    if (!owner_.EndStalledBody(*this, body_.ClientIsFull(bytes))) return false;
  }
  return true;
}

std::optional<Connection::TimePoint> Connection::stalled_since() const {
  const bool stalled = reading_body_ && !gone_ && !body_ended_ && body_.bytes() > 0 &&
                       body_progress_ + owner_.limits().stall_after <= std::chrono::steady_clock::now();
  return stalled ? std::optional(body_progress_) : std::nullopt;
}

void Connection::EndBody() {
  body_ended_ = true;
  body_.Clear();
  error_code ignored;
  socket_.cancel(ignored);
}

}  // namespace inkstone

#include "server/connection_exchange.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <utility>

#include "server/connection.h"
#include "server/service.h"

namespace inkstone {
namespace {

// As RFC 9110 wants it: "Sun, 06 Nov 1994 08:49:37 GMT".
std::string HttpDate() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 64> text{};
  const size_t length = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return {text.data(), length};
}

std::string Hex(size_t number) {
  std::array<char, 20> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number, 16);
  return {text.data(), end.ptr};
}

// What RenderResponse begins with, whatever the answer is.
constexpr std::string_view kBeginning = "HTTP/1.1 ";
constexpr std::string_view kPolicyHeader = "Content-Security-Policy";

void AddLine(std::string* out, std::string_view name, std::string_view value) {
  out->append(name).append(": ");
  for (const char c : value) {
    if (c != '\r' && c != '\n') out->push_back(c);  // a value can't begin another header
  }
  out->append("\r\n");
}

}  // namespace

std::string RenderResponse(const HttpResponse& response, const FrameOptions& frame, const HeaderList& extra) {
  const bool no_body = response.status == 204 || response.status == 304;
  std::string out(kBeginning);
  out.append(std::to_string(response.status)).append(" ").append(StatusText(response.status)).append("\r\n");
  AddLine(&out, "Date", HttpDate());
  AddLine(&out, "Server", "inkstone");
  if (!response.content_type.empty() && !no_body) AddLine(&out, "Content-Type", response.content_type);
  if (frame.chunked) {
    if (!frame.http_1_0) AddLine(&out, "Transfer-Encoding", "chunked");
  } else if (!no_body) {
    AddLine(&out, "Content-Length", std::to_string(response.body.size()));
  }
  AddLine(&out, "Connection", frame.keep_alive ? "keep-alive" : "close");
  AddLine(&out, "X-Content-Type-Options", "nosniff");
  AddLine(&out, "X-Frame-Options", "DENY");
  // No page shows an answer of this server within itself; those of the page say more.
  const bool has_policy = std::any_of(response.headers.begin(), response.headers.end(),
                                      [](const auto& header) { return header.first == kPolicyHeader; });
  if (!has_policy) AddLine(&out, kPolicyHeader, "default-src 'none'; frame-ancestors 'none'");
  for (const auto& [name, value] : response.headers) AddLine(&out, name, value);
  for (const auto& [name, value] : extra) AddLine(&out, name, value);
  out.append("\r\n");
  if (!frame.chunked && !frame.head_only && !no_body) out.append(response.body);
  return out;
}

void ConnectionExchange::Wake() { connection_->Wake(); }

void ConnectionExchange::AddHeader(std::string name, std::string value) {
  extra_.emplace_back(std::move(name), std::move(value));
}

void ConnectionExchange::Reply(HttpResponse response) {
  if (!Usable() || streaming_) return;
  status_ = response.status;
  body_bytes_ = response.body.size();
  SetOutput(RenderResponse(
      response, {.keep_alive = options_.keep_alive, .http_1_0 = options_.http_1_0, .head_only = options_.head_only},
      extra_));
  if (!Hold()) {
    // Small, and there is always room for it.
    SetOutput(RenderResponse(ErrorResponse({.status = 503,
                                            .message = "too many large answers at once; try again later",
                                            .type = "server_error",
                                            .code = "memory_pressure",
                                            .retry_after = 2}),
                             {.keep_alive = options_.keep_alive, .http_1_0 = options_.http_1_0}, extra_));
    status_ = 503;
  }
  finished_ = true;
  Wake();
}

void ConnectionExchange::StartStream(HttpResponse head) {
  if (!Usable() || streaming_) return;
  streaming_ = true;
  status_ = head.status;
  if (options_.http_1_0) options_.keep_alive = false;
  SetOutput(RenderResponse(head, {.keep_alive = options_.keep_alive, .http_1_0 = options_.http_1_0, .chunked = true},
                           extra_));
  Wake();
}

void ConnectionExchange::Write(std::string_view bytes) {
  if (!Usable() || !streaming_ || bytes.empty()) return;
  if (output_.size() > options_.output_limit) {
    overflowed_ = true;
    Abort();
    return Wake();
  }
  body_bytes_ += bytes.size();
  if (options_.http_1_0) {
    output_.append(bytes);
  } else {
    output_.append(Hex(bytes.size())).append("\r\n").append(bytes).append("\r\n");
  }
  if (!Hold()) {
    overflowed_ = true;
    Abort();
  }
  Wake();
}

void ConnectionExchange::Finish() {
  if (!Usable() || !streaming_) return;
  if (!options_.http_1_0) output_.append("0\r\n\r\n");
  finished_ = true;
  Wake();
}

void ConnectionExchange::SetOutput(std::string rendered) {
  output_ = std::move(rendered);
  output_.erase(0, beginning_);
}

std::string_view ConnectionExchange::TakeBeginning() {
  if (streaming_ || finished_ || beginning_ == kBeginning.size()) return {};
  return kBeginning.substr(beginning_++, 1);
}

void ConnectionExchange::ReleaseBody() {
  if (connection_ != nullptr) connection_->ReleaseBody();
}

void ConnectionExchange::EndWith(const ApiError& error) {
  if (!Usable()) return;
  options_.keep_alive = false;
  const auto callback = std::exchange(on_close_, nullptr);
  if (streaming_) {
    Write(SseData(ErrorJson(error)) + SseData("[DONE]"));
    Finish();
  } else {
    Reply(ErrorResponse(error));
  }
  if (callback) callback();
}

void ConnectionExchange::Ping() { Write(": ping\n\n"); }

std::string ConnectionExchange::TakeOutput() {
  taken_ = output_.size();
  return std::exchange(output_, {});
}

void ConnectionExchange::OnWritten() {
  taken_ = 0;
  static_cast<void>(Hold());  // less than before
}

void ConnectionExchange::Abort() {
  aborted_ = true;
  const auto callback = std::exchange(on_close_, nullptr);
  if (callback && !finished_) callback();
}

void ConnectionExchange::Detach() {
  connection_ = nullptr;
  on_close_ = nullptr;
}

}  // namespace inkstone

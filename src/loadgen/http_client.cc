#include "loadgen/http_client.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "loadgen/response_reader.h"
#include "loadgen/url.h"

namespace inkstone {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = 16 << 10;
constexpr int kSlowReceiveBuffer = 4 << 10;  // bytes, so that the server feels a slow reader
constexpr size_t kMaxGaps = 1 << 20;         // of one answer

asio::steady_timer::duration ToDuration(double seconds) {
  return std::chrono::duration_cast<asio::steady_timer::duration>(std::chrono::duration<double>(seconds));
}

double Seconds(HttpClient::Clock::duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

// One connection, and the alarm that may end it.
struct HttpClient::Wire {
  enum class Ending { kNone, kTimeout, kHangUp, kAbandon };
  explicit Wire(asio::io_context& context) : socket(context), alarm(context), pause(context) {}

  void End(Ending why) {
    if (ending != Ending::kNone) return;
    ending = why;
    error_code ignored;
    socket.close(ignored);
    pause.cancel();
  }

  tcp::socket socket;
  asio::steady_timer alarm;
  asio::steady_timer pause;  // of a slow reader
  Ending ending = Ending::kNone;
};

HttpClient::HttpClient(const LoadOptions& options, asio::io_context& context) : options_(options), context_(context) {}

Result<std::unique_ptr<HttpClient>> HttpClient::Create(const LoadOptions& options, asio::io_context& context) {
  INK_ASSIGN_OR_RETURN(const ServerUrl url, ParseServerUrl(options.url));
  std::unique_ptr<HttpClient> client(new HttpClient(options, context));
  error_code error;
  tcp::resolver resolver(context);
  for (const auto& found : resolver.resolve(url.host, url.port, error)) client->endpoints_.push_back(found.endpoint());
  if (client->endpoints_.empty()) return NotFound("host '" + url.host + "' does not resolve: " + error.message());
  client->authority_ = url.authority;
  client->target_ = TargetOf(url, options.workload.endpoint);
  return client;
}

std::string HttpClient::Render(std::string_view body) const {
  std::string text =
      "POST " + target_ + " HTTP/1.1\r\nHost: " + authority_ +
      "\r\nUser-Agent: inkstone-bench\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n" +
      "Connection: close\r\n";
  if (!options_.api_key.empty()) text += "Authorization: Bearer " + options_.api_key + "\r\n";
  text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  return text.append(body);
}

asio::awaitable<Attempt> HttpClient::Ask(std::string body, Clock::time_point due, std::optional<double> hang_up_after) {
  const auto wire = std::make_shared<Wire>(context_);
  wires_.insert(wire);
  const bool hangs_up = hang_up_after && *hang_up_after < options_.timeout;
  wire->alarm.expires_after(ToDuration(hangs_up ? *hang_up_after : options_.timeout));
  wire->alarm.async_wait([wire, hangs_up](error_code error) {
    if (!error) wire->End(hangs_up ? Wire::Ending::kHangUp : Wire::Ending::kTimeout);
  });

  Attempt attempt;
  attempt.failure = co_await Connect(*wire);
  if (!attempt.failure) {
    const std::string request = Render(body);
    // A server may refuse before it has read all: its answer counts, not the error of the write.
    co_await asio::async_write(wire->socket, asio::buffer(request), kAwait);
    co_await Read(*wire, due, &attempt);
  }
  attempt.end = Seconds(Clock::now() - due);
  attempt.outcome = attempt.failure ? Attempt::Outcome::kFailed : Attempt::Outcome::kAnswered;
  if (wire->ending == Wire::Ending::kTimeout) {
    attempt.failure = Failure{"timeout", "no complete answer in time"};
  } else if (wire->ending == Wire::Ending::kHangUp) {
    attempt.outcome = Attempt::Outcome::kHungUp;
  } else if (wire->ending == Wire::Ending::kAbandon) {
    attempt.outcome = Attempt::Outcome::kAbandoned;
  }
  wire->End(Wire::Ending::kAbandon);  // closes; the alarm, should it be queued already, changes nothing any more
  wire->alarm.cancel();
  wires_.erase(wire);
  co_return attempt;
}

asio::awaitable<std::optional<Failure>> HttpClient::Connect(Wire& wire) {
  error_code error = asio::error::operation_aborted;
  for (const auto& endpoint : endpoints_) {
    if (wire.ending != Wire::Ending::kNone) break;
    wire.socket.close(error);
    wire.socket.open(endpoint.protocol(), error);
    if (error) continue;
    error_code ignored;
    wire.socket.set_option(tcp::no_delay(true), ignored);
    if (options_.slow_reader > 0) {
      wire.socket.set_option(asio::socket_base::receive_buffer_size(kSlowReceiveBuffer), ignored);
    }
    const auto [failed] = co_await wire.socket.async_connect(endpoint, kAwait);
    error = failed;
    if (!error) co_return std::nullopt;
  }
  co_return Failure{"connect", error.message()};
}

asio::awaitable<void> HttpClient::Read(Wire& wire, Clock::time_point due, Attempt* attempt) {
  ResponseReader reader(options_.workload.endpoint);
  std::vector<char> buffer(options_.slow_reader > 0 ? std::clamp<size_t>(options_.slow_reader / 10, 1, kReadBytes)
                                                    : kReadBytes);
  while (!reader.done()) {
    const auto [error, bytes] = co_await wire.socket.async_read_some(asio::buffer(buffer), kAwait);
    if (error == asio::error::eof) {
      reader.PushEnd();
      break;
    }
    if (error) {
      attempt->failure = Failure{"closed early", error.message()};
      break;
    }
    const double now = Seconds(Clock::now() - due);
    for (int pieces = reader.Push({buffer.data(), bytes}); pieces > 0; --pieces) {
      if (attempt->pieces++ == 0) {
        attempt->first = now;
      } else if (attempt->gaps.size() < kMaxGaps) {
        attempt->gaps.push_back(now - attempt->last);
      }
      attempt->last = now;
    }
    if (options_.slow_reader > 0 && !reader.done() && wire.ending == Wire::Ending::kNone) {
      wire.pause.expires_after(ToDuration(static_cast<double>(bytes) / static_cast<double>(options_.slow_reader)));
      co_await wire.pause.async_wait(kAwait);
    }
  }
  attempt->retry_after = reader.retry_after();
  if (reader.done()) {
    attempt->failure = reader.failure();
    attempt->usage = reader.usage();
  }
}

void HttpClient::AbandonAll() {
  for (const auto& wire : wires_) wire->End(Wire::Ending::kAbandon);
}

}  // namespace inkstone

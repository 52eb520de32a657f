// A server that says what a test wants, byte for byte: for tests of the load generator.
#pragma once

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace inkstone::testing {

struct Step {
  std::chrono::milliseconds wait{0};
  std::string bytes;
};

// Listens on a free loopback port, reads a request from each connection, plays the steps and closes.
class ScriptServer {
 public:
  using Request = boost::beast::http::request<boost::beast::http::string_body>;
  using Script = std::function<std::vector<Step>(const Request& request, int number)>;

  explicit ScriptServer(Script script)
      : script_(std::move(script)),
        acceptor_(context_, {boost::asio::ip::address_v4::loopback(), 0}),
        port_(acceptor_.local_endpoint().port()) {
    boost::asio::co_spawn(context_, Accept(), boost::asio::detached);
    thread_ = std::thread([this] { context_.run(); });
  }
  ~ScriptServer() {
    context_.stop();
    thread_.join();
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  int most_at_once() const { return most_; }
  // Answers that could not be written to their end.
  int broken() const { return broken_; }

 private:
  static constexpr auto kAwait = boost::asio::as_tuple(boost::asio::use_awaitable);

  boost::asio::awaitable<void> Accept() {
    while (true) {
      auto [error, socket] = co_await acceptor_.async_accept(kAwait);
      if (error) co_return;
      boost::asio::co_spawn(context_, Serve(std::move(socket)), boost::asio::detached);
    }
  }

  boost::asio::awaitable<void> Serve(boost::asio::ip::tcp::socket socket) {
    boost::beast::flat_buffer buffer;
    Request request;
    const auto [failed, bytes] = co_await boost::beast::http::async_read(socket, buffer, request, kAwait);
    if (failed) co_return;
    int number = 0;
    {
      const std::lock_guard lock(mutex_);
      number = static_cast<int>(requests_.size());
      requests_.push_back(request);
    }
    most_ = std::max(most_.load(), ++at_once_);
    boost::asio::steady_timer pause(context_);
    for (const Step& step : script_(request, number)) {
      pause.expires_after(step.wait);
      co_await pause.async_wait(kAwait);
      const auto [error, written] = co_await boost::asio::async_write(socket, boost::asio::buffer(step.bytes), kAwait);
      if (!error) continue;
      ++broken_;
      break;
    }
    --at_once_;
  }

  Script script_;
  boost::asio::io_context context_{1};
  boost::asio::ip::tcp::acceptor acceptor_;
  uint16_t port_;
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
  std::atomic<int> most_ = 0, broken_ = 0;
  int at_once_ = 0;
  std::thread thread_;
};

inline std::string StreamHead() {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
}
inline std::string Piece(const std::string& text) {
  return R"(data: {"choices":[{"index":0,"delta":{"content":")" + text + "\"},\"finish_reason\":null}]}\n\n";
}
inline std::string Finish() { return "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"; }
inline std::string UsageEvent(int prompt, int completion, int cached = 0) {
  return R"(data: {"choices":[],"usage":{"prompt_tokens":)" + std::to_string(prompt) + R"(,"completion_tokens":)" +
         std::to_string(completion) + R"(,"prompt_tokens_details":{"cached_tokens":)" + std::to_string(cached) +
         "}}}\n\n";
}
inline std::string Done() { return "data: [DONE]\n\n"; }

// A head, pieces after a wait each, and the end with usage.
inline std::vector<Step> Answer(int pieces, std::chrono::milliseconds wait = {}) {
  std::vector<Step> steps = {{.bytes = StreamHead()}};
  for (int i = 0; i < pieces; ++i) steps.push_back({wait, Piece("word ")});
  steps.push_back({.bytes = Finish() + UsageEvent(10, pieces) + Done()});
  return steps;
}

}  // namespace inkstone::testing

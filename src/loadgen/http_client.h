// Sends requests and reads streamed answers, each on a connection of its own. For one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "loadgen/attempt.h"
#include "loadgen/load_options.h"

namespace inkstone {

class HttpClient {
 public:
  using Clock = std::chrono::steady_clock;

  // Resolves the host; blocks meanwhile. kInvalidArgument for the URL, kNotFound for the host. `context` outlives it.
  static Result<std::unique_ptr<HttpClient>> Create(const LoadOptions& options, boost::asio::io_context& context);

  // Times count from `due`, which may be past. `hang_up_after`: seconds from the start of this call.
  boost::asio::awaitable<Attempt> Ask(std::string body, Clock::time_point due, std::optional<double> hang_up_after);

  // Ends all requests under way: kAbandoned.
  void AbandonAll();

  // What the requests go to.
  std::string url() const { return "http://" + authority_ + target_; }

 private:
  struct Wire;
  HttpClient(const LoadOptions& options, boost::asio::io_context& context);
  boost::asio::awaitable<std::optional<Failure>> Connect(Wire& wire);
  boost::asio::awaitable<void> Read(Wire& wire, Clock::time_point due, Attempt* attempt);
  std::string Render(std::string_view body) const;

  LoadOptions options_;
  boost::asio::io_context& context_;
  std::vector<boost::asio::ip::tcp::endpoint> endpoints_;
  std::string authority_;
  std::string target_;
  std::set<std::shared_ptr<Wire>> wires_;  // of requests under way
};

}  // namespace inkstone

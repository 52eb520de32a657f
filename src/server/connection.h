// One client's connection: reads requests, writes answers, watches for the client going away. Event-loop thread only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/buffer_budget.h"
#include "server/http_types.h"
#include "server/server.h"

namespace inkstone {

// Facts of one answered request, for the log and the metrics.
struct RequestRecord {
  int status = 0;
  uint64_t bytes = 0;  // of the body
  double seconds = 0;
  bool aborted = false;  // the client went away first
};

class ConnectionExchange;

// What a connection asks of its server.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  virtual const HttpLimits& limits() const = 0;
  virtual bool draining() const = 0;
  virtual const std::shared_ptr<BufferBudget>& buffers() const = 0;
  virtual void Handle(const HttpRequest& request, std::shared_ptr<Exchange> exchange) = 0;
  virtual void OnRecord(const HttpRequest& request, const RequestRecord& record) = 0;
  virtual void OnBusy(bool busy) = 0;  // an answer begins or has ended
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // The owner outlives the connection.
  Connection(boost::asio::ip::tcp::socket socket, ConnectionOwner& owner);
  ~Connection();
  // Memory of one connection at most, beside what it takes of the owner's buffers: a head, bytes read ahead, itself.
  static size_t FixedBytes(const HttpLimits& limits);

  // Serves until the connection ends; keeps itself alive.
  void Start(std::function<void()> on_end);
  // Answers 503 and closes: too many connections.
  void Refuse(std::function<void()> on_end);
  // Ends at once; a running answer is aborted.
  void Abort();
  // Ends a connection that waits for a request or reads one.
  void EndIfReading();
  // Since when it has done that; nothing while it answers.
  std::optional<std::chrono::steady_clock::time_point> reading_since() const;

 private:
  friend class ConnectionExchange;
  using Milliseconds = std::chrono::milliseconds;
  enum class ReadOutcome { kRequest, kClosed, kError };

  boost::asio::awaitable<void> Serve();
  boost::asio::awaitable<void> RefuseAndClose();
  // Reads one request; on kError `error_status_` says what to answer.
  boost::asio::awaitable<ReadOutcome> Read(HttpRequest* request, bool first);
  // Answers it; false when the connection can't be used any more.
  boost::asio::awaitable<bool> Answer(const HttpRequest& request);
  // Writes what the exchange gives until it ends; false when the client is gone.
  boost::asio::awaitable<bool> Pump(ConnectionExchange& exchange);
  boost::asio::awaitable<bool> WriteAll(std::string_view bytes);
  boost::asio::awaitable<void> WriteError(int status, std::string_view message, std::string code);
  // Says goodbye and reads on for a moment, so that an unread body does not destroy the answer on its way.
  boost::asio::awaitable<void> Linger();

  void StartWatch();
  boost::asio::awaitable<void> StopWatch();
  void SetDeadline(Milliseconds after);
  void ClearDeadline();
  void Wake() { wake_.cancel(); }
  void ClientGone();
  // ClientGone for one that does not take its answer: what the kernel still holds for it goes too.
  void Reset();

  boost::asio::ip::tcp::socket socket_;
  ConnectionOwner& owner_;
  std::string address_;
  boost::beast::flat_buffer buffer_;  // bytes received but not parsed yet
  BufferShare body_;                  // of the request that is read or answered
  boost::asio::steady_timer wake_;
  boost::asio::steady_timer deadline_;
  uint64_t deadline_epoch_ = 0;  // invalidates a deadline that is already queued
  bool timed_out_ = false;
  boost::asio::cancellation_signal stop_watch_;
  bool watching_ = false;
  bool reading_ = false;
  std::chrono::steady_clock::time_point reading_since_;
  bool in_answer_ = false;
  bool gone_ = false;
  int error_status_ = 0;
  std::string error_message_;
  std::string error_code_;
  bool keep_alive_ = false;
  std::shared_ptr<ConnectionExchange> exchange_;
};

}  // namespace inkstone

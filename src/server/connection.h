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

class Connection;
class ConnectionExchange;

// What a connection asks of its server.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  virtual const HttpLimits& limits() const = 0;
  virtual bool draining() const = 0;
  virtual const std::shared_ptr<BufferBudget>& buffers() const = 0;
  // Ends the body that has stalled longest, of `asking`'s client or of anybody; false when none has.
  virtual bool EndStalledBody(const Connection& asking, bool same_client) = 0;
  virtual void Handle(const HttpRequest& request, std::shared_ptr<Exchange> exchange) = 0;
  virtual void OnRecord(const HttpRequest& request, const RequestRecord& record) = 0;
  virtual void OnBusy(bool busy) = 0;            // an answer begins or has ended
  virtual void OnTrouble(const char* what) = 0;  // an exception while a request was read or answered
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // The owner outlives the connection.
  Connection(boost::asio::ip::tcp::socket socket, ConnectionOwner& owner);
  ~Connection();
  // Memory of one connection at most, beside what it takes of the owner's buffers: a head, bytes read ahead, itself.
  static size_t FixedBytes(const HttpLimits& limits);
  // What it takes of them for a body of this size while that is worked on.
  static size_t WorkBytes(size_t body);

  // Serves until the connection ends; keeps itself alive.
  void Start(std::function<void()> on_end);
  // Answers 503 and closes: too many connections.
  void Refuse(std::function<void()> on_end);
  // Ends at once; a running answer is aborted.
  void Abort();
  // Ends a connection that waits for a request or reads one.
  void EndIfReading();
  // Ends an answer in order: with an error that says that the server stops. Nothing when none is under way.
  void EndAnswer();
  // Since when it has done that; nothing while it answers.
  std::optional<TimePoint> reading_since() const;
  // Since when its body, which takes room, has not come on; nothing when it has, or none is read.
  std::optional<TimePoint> stalled_since() const;
  // Gives the body's room to somebody else and answers 408.
  void EndBody();
  bool SameClient(const Connection& other) const { return client_ == other.client_; }

 private:
  friend class ConnectionExchange;
  using Milliseconds = std::chrono::milliseconds;
  class Parser;
  enum class ReadOutcome { kRequest, kClosed, kError };

  // ServeAll; what it throws, memory that could not be had for example, ends in an answer as well.
  boost::asio::awaitable<void> Serve();
  boost::asio::awaitable<void> ServeAll();
  boost::asio::awaitable<void> RefuseAndClose();
  // Reads one request; on kError `error_status_` says what to answer.
  boost::asio::awaitable<ReadOutcome> Read(HttpRequest* request, bool first);
  boost::asio::awaitable<boost::system::error_code> ReadHead(Parser& parser);
  boost::asio::awaitable<boost::system::error_code> ReadBody(Parser& parser);
  boost::asio::awaitable<boost::system::error_code> ReadSome();
  ReadOutcome Fail(int status, std::string message, std::string code = {});
  ReadOutcome Explain(const boost::system::error_code& error);
  // Takes room for the body, from those that have stalled where there is none.
  bool HoldBody(size_t bytes);
  // Answers it; false when the connection can't be used any more.
  boost::asio::awaitable<bool> Answer(HttpRequest& request);
  // Writes what the exchange gives until it ends; false when the client is gone.
  boost::asio::awaitable<bool> Pump(ConnectionExchange& exchange);
  boost::asio::awaitable<bool> WriteAll(std::string_view bytes);
  boost::asio::awaitable<void> WriteError(int status, std::string_view message, std::string code);
  // Says goodbye and reads on for a moment, so that an unread body does not destroy the answer on its way.
  boost::asio::awaitable<void> Linger();

  void StartWatch();
  boost::asio::awaitable<void> StopWatch();
  // The body of the request that is answered is not needed any more.
  void ReleaseBody();
  // Waits for the exchange, and looks after the client meanwhile.
  boost::asio::awaitable<void> Wait(ConnectionExchange& exchange);
  // Whether the client may have gone without a word that this side can read.
  bool ClientIsDoubtful() const;
  // What the kernel knows of the other side: it has ended its half, or is gone.
  void LookAtPeer();
  // A few bytes of the answer in advance: a client that is gone resets the connection on them.
  boost::asio::awaitable<void> Probe(ConnectionExchange& exchange);
  // An answer without any memory: of a request for which there was none.
  void LastWords();
  void SetDeadline(Milliseconds after);
  void ClearDeadline();
  void Wake() { wake_.cancel(); }
  void ClientGone();
  // ClientGone for one that does not take its answer: what the kernel still holds for it goes too.
  void Reset();

  boost::asio::ip::tcp::socket socket_;
  ConnectionOwner& owner_;
  std::string address_;
  std::shared_ptr<BufferBudget::Client> client_;
  boost::beast::flat_buffer buffer_;  // bytes received but not parsed yet
  BufferShare body_;                  // of the request that is read or answered
  boost::asio::steady_timer wake_;
  boost::asio::steady_timer deadline_;
  uint64_t deadline_epoch_ = 0;  // invalidates a deadline that is already queued
  bool timed_out_ = false;
  boost::asio::cancellation_signal stop_watch_;
  bool watching_ = false;
  bool reading_ = false;
  TimePoint reading_since_;
  bool reading_body_ = false;
  bool body_ended_ = false;    // by EndBody
  TimePoint body_progress_;    // when the body had last come on by enough
  size_t progress_bytes_ = 0;  // how much of it there was
  size_t written_ = 0;         // bytes of the answer
  bool half_closed_ = false;   // the client sends nothing more
  TimePoint next_probe_;
  int probes_ = 0;
  TimePoint last_output_;
  bool in_answer_ = false;
  bool gone_ = false;
  int error_status_ = 0;
  std::string error_message_;
  std::string error_code_;
  bool keep_alive_ = false;
  HttpRequest* answered_ = nullptr;
  std::shared_ptr<ConnectionExchange> exchange_;
};

}  // namespace inkstone

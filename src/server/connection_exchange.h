// The answer side of one request on a connection: framing, the bounded output queue, pings.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/buffer_budget.h"
#include "server/http_types.h"

namespace inkstone {

class Connection;

struct FrameOptions {
  bool keep_alive = true;
  bool http_1_0 = false;
  bool head_only = false;
  bool chunked = false;  // no length: chunks, or the end of the connection under HTTP/1.0
};
// The bytes of a response, with `extra` headers; without a body when chunked, head_only or by status.
std::string RenderResponse(const HttpResponse& response, const FrameOptions& frame, const HeaderList& extra);

class ConnectionExchange final : public Exchange {
 public:
  static constexpr size_t kFreeBytes = 16 << 10;  // that every answer may have unsent, whatever others hold

  struct Options {
    bool http_1_0 = false;
    bool head_only = false;
    bool keep_alive = true;
    size_t output_limit = 256 << 10;  // bytes of a stream that wait; one event may be larger
  };
  ConnectionExchange(Connection& connection, Options options, BufferShare share)
      : connection_(&connection), options_(options), share_(std::move(share)) {}

  void Reply(HttpResponse response) override;
  void StartStream(HttpResponse head) override;
  void Write(std::string_view bytes) override;
  void Finish() override;
  bool closed() const override { return connection_ == nullptr || aborted_; }
  void OnClose(std::function<void()> callback) override { on_close_ = std::move(callback); }
  void AddHeader(std::string name, std::string value) override;
  void ReleaseBody() override;

  // For the connection.
  void Abort();   // the client is gone: tells the endpoint
  void Detach();  // the connection does not know this exchange any more
  void Ping();
  // Ends what has not ended: with this error, as the last event of a stream. The endpoint is told as by Abort.
  void EndWith(const ApiError& error);
  // The next byte that every answer begins with, before there is one; empty when no more is known.
  std::string_view TakeBeginning();
  size_t beginning() const { return beginning_; }  // bytes that were taken so
  bool HasOutput() const { return !output_.empty(); }
  std::string TakeOutput();
  void OnWritten();  // what was taken last has gone
  bool overflowed() const { return overflowed_; }
  bool finished() const { return finished_; }
  bool wants_pings() const { return streaming_ && !finished_; }
  bool keep_alive() const { return options_.keep_alive; }
  int status() const { return status_; }
  uint64_t body_bytes() const { return body_bytes_; }

 private:
  // Takes what is unsent of the connections' buffers; false when they are full.
  bool Hold() {
    const size_t bytes = output_.size() + taken_;
    return share_.Resize(bytes > kFreeBytes ? bytes - kFreeBytes : 0);
  }
  // Bytes of the answer's head for the socket, but for those that have gone already.
  void SetOutput(std::string rendered);
  bool Usable() const { return !closed() && !finished_; }
  void Wake();

  Connection* connection_;
  Options options_;
  HeaderList extra_;
  std::function<void()> on_close_;
  std::string output_;  // bytes for the socket
  size_t taken_ = 0;    // bytes that the connection is writing
  BufferShare share_;   // of both
  size_t beginning_ = 0;
  int status_ = 0;
  uint64_t body_bytes_ = 0;
  bool streaming_ = false;
  bool finished_ = false;
  bool aborted_ = false;
  bool overflowed_ = false;
};

}  // namespace inkstone

// What the connection hands to the endpoints and what they hand back. No Asio, no Beast, no JSON here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace inkstone {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;          // "GET"
  std::string path;            // percent-decoded, begins with '/'
  std::string query;           // raw, without '?'
  std::string authority = {};  // "host:port" of a target in absolute form, else empty
  HeaderList headers;          // names in lower case
  std::string body;            // complete
  int minor = 1;               // HTTP/1.minor
  std::string address;         // of the peer, for the log
  std::stop_token stop = {};   // asks whoever prepares the answer to end: the client is gone, or the server stops

  // Value of the first header of this lower-case name, empty when absent.
  std::string_view Header(std::string_view name) const;
  // Percent-decoded value of a query parameter ('+' is a space), empty when absent.
  std::string QueryValue(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HeaderList headers = {};  // beside Content-Type, Content-Length, Connection, Date
};

// One request's answer: either Reply, or StartStream, Write..., Finish. Event-loop thread only. Once the client is gone
// (or too slow, or the server stops) closed() is true and every call does nothing.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual void Reply(HttpResponse response) = 0;
  // Sends the head now; the body follows through Write. Server-sent events get comment pings while nothing is written.
  virtual void StartStream(HttpResponse head) = 0;
  virtual void Write(std::string_view bytes) = 0;
  virtual void Finish() = 0;
  virtual bool closed() const = 0;
  // Called at most once, when the exchange ends before Reply or Finish.
  virtual void OnClose(std::function<void()> callback) = 0;
  // Headers that every answer gets (CORS); set before Reply or StartStream.
  virtual void AddHeader(std::string name, std::string value) = 0;
  // The request's body has been worked on: it goes, and what it took of the connections' buffers is free for others.
  virtual void ReleaseBody() {}
};

// Where the server's code runs.
class Loop {
 public:
  virtual ~Loop() = default;
  // Runs `task` on the event-loop thread. Thread-safe; tasks posted after the loop has ended are dropped.
  virtual void Post(std::function<void()> task) = 0;
  // Runs `task` on a worker: parsing and tokenizing of large prompts. Thread-safe.
  virtual void Offload(std::function<void()> task) = 0;
};

// "localhost" of "localhost:8080", "::1" of "[::1]:8080".
std::string_view HostName(std::string_view authority);
// A host name or an address, perhaps with a port, and nothing else: no user, no path, no list.
bool IsAuthority(std::string_view text);
// Percent-decodes; a malformed escape stays as it is.
std::string PercentDecode(std::string_view text, bool plus_is_space);
// "Bad Request" for 400.
std::string_view StatusText(int status);

}  // namespace inkstone

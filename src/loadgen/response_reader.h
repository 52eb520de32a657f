// One HTTP response with a streamed completion, from the bytes of the connection on. It does no input or output.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "loadgen/answer_parser.h"

namespace inkstone {

// Whatever the bytes are, the end is an answer or a Failure. Memory: 64 KiB of head or error body, and one event.
class ResponseReader {
 public:
  explicit ResponseReader(Endpoint endpoint);
  ~ResponseReader();
  ResponseReader(const ResponseReader&) = delete;
  ResponseReader& operator=(const ResponseReader&) = delete;

  // The next bytes. Returns how many of the events that they complete carry some of the answer. Ignored once done().
  int Push(std::string_view bytes);
  // The server has closed the connection.
  void PushEnd();

  bool done() const;
  const std::optional<Failure>& failure() const;  // once done(): nothing means that the answer is complete
  const std::optional<Usage>& usage() const;
  int status() const;          // 0 until the head is there
  double retry_after() const;  // seconds that the server asks to wait; 0: it doesn't

 private:
  class Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace inkstone

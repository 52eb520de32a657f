// Server-sent events out of a stream of bytes (WHATWG HTML, section "Server-sent events").
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace inkstone {

class SseParser {
 public:
  static constexpr size_t kMaxEvent = 1 << 20;  // bytes of a line, and of an event's data
  using Sink = std::function<void(std::string_view data)>;

  // Gives the sink the data of every event that these bytes complete. Comments and other fields are skipped. False when
  // a line or an event is longer than kMaxEvent; nothing may be pushed after that.
  bool Push(std::string_view bytes, const Sink& sink);
  // The stream has ended: gives the event whose blank line is missing. Bytes of an unfinished line are dropped.
  void Finish(const Sink& sink);

 private:
  bool EndLine(const Sink& sink);
  void Dispatch(const Sink& sink);

  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool after_return_ = false;  // the last byte was CR: an LF belongs to it
};

}  // namespace inkstone

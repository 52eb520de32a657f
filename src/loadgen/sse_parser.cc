#include "loadgen/sse_parser.h"

namespace inkstone {

bool SseParser::Push(std::string_view bytes, const Sink& sink) {
  while (!bytes.empty()) {
    if (after_return_ && bytes.front() == '\n') bytes.remove_prefix(1);
    after_return_ = false;
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view piece = bytes.substr(0, end);
    if (line_.size() + piece.size() > kMaxEvent) return false;
    line_.append(piece);
    if (end == std::string_view::npos) return true;
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    if (!EndLine(sink)) return false;
  }
  return true;
}

void SseParser::Finish(const Sink& sink) {
  line_.clear();
  Dispatch(sink);
}

bool SseParser::EndLine(const Sink& sink) {
  if (line_.empty()) {
    Dispatch(sink);
    return true;
  }
  const std::string_view line = line_;
  if (line == "data" || line.starts_with("data:")) {
    std::string_view value = line.substr(line.size() == 4 ? 4 : 5);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (has_data_) data_.push_back('\n');
    if (data_.size() + value.size() > kMaxEvent) return false;
    data_.append(value);
    has_data_ = true;
  }
  line_.clear();
  return true;
}

void SseParser::Dispatch(const Sink& sink) {
  if (has_data_) sink(data_);
  data_.clear();
  has_data_ = false;
}

}  // namespace inkstone

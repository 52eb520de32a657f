#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace inkstone {
namespace {

constexpr size_t kMaxStops = 64;
constexpr size_t kMaxStopBytes = 4096;

// KMP: the longest prefix of `text` that ends the stream, after one more byte.
size_t Advance(const std::string& text, const std::vector<size_t>& fallback, size_t state, char byte) {
  while (state > 0 && (state == text.size() || text[state] != byte)) state = fallback[state];
  return text[state] == byte ? state + 1 : state;
}

}  // namespace

Status StopMatcher::Validate(const std::vector<std::string>& stops) {
  if (stops.size() > kMaxStops) {
    return InvalidArgument("stop: at most " + std::to_string(kMaxStops) + " strings, found " +
                           std::to_string(stops.size()));
  }
  for (const std::string& stop : stops) {
    if (stop.empty() || stop.size() > kMaxStopBytes) {
      return InvalidArgument("stop: a string has 1 to " + std::to_string(kMaxStopBytes) + " bytes, found " +
                             std::to_string(stop.size()));
    }
    // A match must not split a character of the text before it.
    if ((static_cast<unsigned char>(stop[0]) & 0xc0u) == 0x80u) {
      return InvalidArgument("stop: a string begins inside a UTF-8 sequence");
    }
  }
  return Status::Ok();
}

StopMatcher::StopMatcher(const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    Pattern pattern{stop, std::vector<size_t>(stop.size() + 1, 0)};
    for (size_t i = 1; i < stop.size(); ++i) {
      pattern.fallback[i + 1] = Advance(stop, pattern.fallback, pattern.fallback[i], stop[i]);
    }
    patterns_.push_back(std::move(pattern));
  }
}

std::string StopMatcher::Push(std::string_view piece) {
  if (matched()) return {};
  std::string text = std::exchange(held_, {});
  const size_t begin = text.size();
  text += piece;
  size_t tail = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    tail = 0;
    for (Pattern& pattern : patterns_) {
      pattern.state = Advance(pattern.text, pattern.fallback, pattern.state, text[i]);
      tail = std::max(tail, pattern.state);
      if (pattern.state == pattern.text.size() && (!matched() || pattern.text.size() > matched_->size())) {
        matched_ = &pattern.text;
      }
    }
    if (matched()) {
      text.resize(i + 1 - matched_->size());
      return text;
    }
  }
  if (piece.empty()) tail = begin;
  held_ = text.substr(text.size() - tail);
  text.resize(text.size() - tail);
  return text;
}

std::string StopMatcher::Flush() { return std::exchange(held_, {}); }

}  // namespace inkstone

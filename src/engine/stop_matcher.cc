#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace inkstone {
namespace {

// KMP: the longest prefix of `text` that ends the stream, after one more byte.
uint16_t Advance(const std::string& text, const std::vector<uint16_t>& fallback, uint16_t state, char byte) {
  while (state > 0 && (state == text.size() || text[state] != byte)) state = fallback[state];
  return text[state] == byte ? static_cast<uint16_t>(state + 1) : state;
}

}  // namespace

StopSet::StopSet(std::vector<std::string> stops) {
  if (stops.empty()) return;
  std::vector<Pattern> patterns;
  patterns.reserve(stops.size());
  for (std::string& stop : stops) {
    Pattern pattern{std::move(stop), {}};
    const std::string& text = pattern.text;
    if (text.size() <= kMaxBytes) pattern.fallback.resize(text.size() + 1, 0);
    for (size_t i = 1; i + 1 < pattern.fallback.size(); ++i) {
      pattern.fallback[i + 1] = Advance(text, pattern.fallback, pattern.fallback[i], text[i]);
    }
    patterns.push_back(std::move(pattern));
  }
  patterns_ = std::make_shared<const std::vector<Pattern>>(std::move(patterns));
}

Status StopSet::Validate() const {
  if (size() > kMaxStops) {
    return InvalidArgument("stop: at most " + std::to_string(kMaxStops) + " strings, found " + std::to_string(size()));
  }
  for (size_t i = 0; i < size(); ++i) {
    const std::string& stop = (*this)[i];
    if (stop.empty() || stop.size() > kMaxBytes) {
      return InvalidArgument("stop: a string has 1 to " + std::to_string(kMaxBytes) + " bytes, found " +
                             std::to_string(stop.size()));
    }
    // A match must not split a character of the text before it.
    if ((static_cast<unsigned char>(stop[0]) & 0xc0u) == 0x80u) {
      return InvalidArgument("stop: a string begins inside a UTF-8 sequence");
    }
  }
  return Status::Ok();
}

std::string StopMatcher::Push(std::string_view piece) {
  if (matched()) return {};
  std::string text = std::exchange(held_, {});
  const size_t begin = text.size();
  text += piece;
  size_t tail = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    tail = 0;
    for (size_t s = 0; s < states_.size(); ++s) {
      const StopSet::Pattern& pattern = (*stops_.patterns_)[s];
      states_[s] = Advance(pattern.text, pattern.fallback, states_[s], text[i]);
      tail = std::max<size_t>(tail, states_[s]);
      if (states_[s] == pattern.text.size() && (!matched() || pattern.text.size() > matched_->size())) {
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

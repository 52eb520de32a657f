// Finds stop strings in a stream of text, across every border between its pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace inkstone {

// The match that is complete first in the text wins, whatever the pieces; of several that end at the same place, the
// longest. One automaton for each string (Knuth, Morris & Pratt 1977): time is linear in text times strings.
class StopMatcher {
 public:
  // At most 64 strings of 1 to 4,096 bytes that begin at a character: kInvalidArgument otherwise.
  static Status Validate(const std::vector<std::string>& stops);

  // `stops` have passed Validate.
  explicit StopMatcher(const std::vector<std::string>& stops);
  StopMatcher(const StopMatcher&) = delete;
  StopMatcher& operator=(const StopMatcher&) = delete;

  // Takes the next piece and returns the text that can be shown: what lies before a match, or else everything except a
  // tail that could still become a stop string. Returns nothing after a match.
  std::string Push(std::string_view piece);
  // The tail held back, when no more text comes.
  std::string Flush();

  bool matched() const { return matched_ != nullptr; }
  // The stop string that was found; valid when matched().
  const std::string& match() const { return *matched_; }

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t> fallback;  // by length: longest proper border of that prefix
    size_t state = 0;              // bytes of `text` that the stream ends with now
  };

  std::vector<Pattern> patterns_;
  std::string held_;
  const std::string* matched_ = nullptr;  // into patterns_
};

}  // namespace inkstone

// Finds stop strings in a stream of text, across every border between its pieces.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"

namespace inkstone {

// Stop strings with the automaton of each: made once, shared by all copies.
class StopSet {
 public:
  static constexpr size_t kMaxStops = 64;
  static constexpr size_t kMaxBytes = 4096;  // of one string

  StopSet() = default;
  StopSet(std::vector<std::string> stops);
  StopSet(std::initializer_list<std::string> stops) : StopSet(std::vector<std::string>(stops)) {}

  // At most 64 strings of 1 to 4,096 bytes that begin at a character: kInvalidArgument otherwise.
  Status Validate() const;

  size_t size() const { return patterns_ == nullptr ? 0 : patterns_->size(); }
  bool empty() const { return size() == 0; }
  const std::string& operator[](size_t index) const { return (*patterns_)[index].text; }

 private:
  friend class StopMatcher;
  struct Pattern {
    std::string text;
    std::vector<uint16_t> fallback;  // by length: longest proper border of that prefix. Empty where text is too long
  };

  std::shared_ptr<const std::vector<Pattern>> patterns_;  // null: none
};

// The match that is complete first in the text wins, whatever the pieces; of several that end at the same place, the
// longest. One automaton for each string (Knuth, Morris & Pratt 1977): time is linear in text times strings.
class StopMatcher {
 public:
  // `stops` have passed Validate.
  explicit StopMatcher(StopSet stops) : stops_(std::move(stops)), states_(stops_.size(), 0) {}
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
  StopSet stops_;
  std::vector<uint16_t> states_;  // by string: bytes of it that the stream ends with now
  std::string held_;
  const std::string* matched_ = nullptr;  // into stops_
};

}  // namespace inkstone

// A regular expression of a Split pre-tokenizer: Oniguruma's syntax, run by PCRE2 with JIT.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "core/status.h"

namespace inkstone {

// What the regular expressions of a model may cost on one text, however many there are and however it is cut before.
class SplitWork {
 public:
  SplitWork(size_t text_bytes, std::stop_token stop);

  // Counts; false once there is no more. Every item of a pattern that is tried counts, and the text that one runs over.
  bool Spend(size_t units);
  // kResourceExhausted, or kCancelled, when it ended.
  Status status() const;
  bool ended() const { return ended_ != StatusCode::kOk; }
  // For what ends it otherwise: the memory of one match.
  void End(StatusCode code) { ended_ = code; }

 private:
  size_t limit_;
  size_t spent_ = 0;
  size_t next_look_ = 0;  // at the stop token
  std::stop_token stop_;
  StatusCode ended_ = StatusCode::kOk;
};

class SplitRegex {
 public:
  // Accepts the common subset of Oniguruma's and PCRE2's syntax and spells out \s, which differs between the two;
  // everything that the two read differently is kUnimplemented.
  static Result<SplitRegex> Compile(std::string_view pattern);
  // The pattern that matches exactly this text.
  static std::string Quote(std::string_view text);

  // Calls emit on each match and on each stretch between matches, in order, never on empty text. `text` is valid UTF-8.
  // Where `work` ends (catastrophic backtracking, or somebody stops it) the rest is one piece.
  void Split(std::string_view text, const std::function<void(std::string_view)>& emit, SplitWork* work) const;

 private:
  struct Code;
  explicit SplitRegex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace inkstone

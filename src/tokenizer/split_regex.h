// A regular expression of a Split pre-tokenizer: Oniguruma's syntax, run by PCRE2 with JIT.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/status.h"

namespace inkstone {

class SplitRegex {
 public:
  // Accepts the common subset of Oniguruma's and PCRE2's syntax and spells out \s, which differs between the two;
  // everything that the two read differently is kUnimplemented.
  static Result<SplitRegex> Compile(std::string_view pattern);
  // The pattern that matches exactly this text.
  static std::string Quote(std::string_view text);

  // Calls emit on each match and on each stretch between matches, in order, never on empty text. `text` is valid UTF-8.
  // A pattern that exceeds the match limit at some position (catastrophic backtracking) leaves the rest in one piece.
  void Split(std::string_view text, const std::function<void(std::string_view)>& emit) const;

 private:
  struct Code;
  explicit SplitRegex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace inkstone

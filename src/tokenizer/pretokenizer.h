// Cuts text into the pieces that are encoded one by one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "tokenizer/split_regex.h"
#include "tokenizer/unicode.h"

namespace inkstone {

enum class StageKind {
  kGpt2,         // GPT-2's pattern
  kQwen2,        // Qwen2 to Qwen3: words with one leading sign, single digits
  kLlama3,       // as Qwen2, digits in groups of up to three
  kRegex,        // any other pattern
  kDigit,        // every numeric character alone
  kDigits,       // runs of numeric characters
  kPrefixSpace,  // a space in front of a piece that has none
};

// One step of a pre-tokenizer: it works on every piece that the step before made.
struct PretokenizerStage {
  StageKind kind;
  std::vector<SplitRegex> regex;  // one, for kRegex
};

// The hand-written scanner of a well-known pattern when `regex` is one, else a compiled kRegex stage.
Result<PretokenizerStage> StageFromRegex(std::string_view regex);
// The same through PCRE2 always: what the scanners are tested against.
Result<PretokenizerStage> GenericStageFromRegex(std::string_view regex);
// The regular expression that a scanner stands for; empty for the other kinds.
std::string_view RegexOf(StageKind kind);

namespace scan {

// End of the first piece of `text` from `pos` by each pattern. `text` is valid UTF-8 and pos < text.size().
size_t Gpt2(const unicode::ClassTable& classes, std::string_view text, size_t pos);
size_t Qwen2(const unicode::ClassTable& classes, std::string_view text, size_t pos, int max_digits);

}  // namespace scan

// Calls emit(piece) for each piece of `text` (valid UTF-8), in order. The pieces live as long as the call. `work` is
// for all stages of a text; where it ends, the rest is one piece.
template <typename Emit>
void Pretokenize(const std::vector<PretokenizerStage>& stages, std::string_view text, Emit&& emit, SplitWork* work,
                 size_t first = 0) {
  if (text.empty()) return;
  if (first == stages.size()) {
    emit(text);
    return;
  }
  const PretokenizerStage& stage = stages[first];
  const bool last = first + 1 == stages.size();
  const auto next = [&](std::string_view piece) {
    if (last) {
      emit(piece);
    } else {
      Pretokenize(stages, piece, emit, work, first + 1);
    }
  };
  const unicode::ClassTable& classes = unicode::ClassTable::Get();
  const auto run = [&](auto end_of_piece) {
    for (size_t pos = 0; pos < text.size();) {
      const size_t end = end_of_piece(pos);
      next(text.substr(pos, end - pos));
      pos = end;
    }
  };
  switch (stage.kind) {
    case StageKind::kGpt2:
      return run([&](size_t pos) { return scan::Gpt2(classes, text, pos); });
    case StageKind::kQwen2:
      return run([&](size_t pos) { return scan::Qwen2(classes, text, pos, 1); });
    case StageKind::kLlama3:
      return run([&](size_t pos) { return scan::Qwen2(classes, text, pos, 3); });
    case StageKind::kRegex:
      return stage.regex.front().Split(text, next, work);
    case StageKind::kDigit:
    case StageKind::kDigits:
      return run([&](size_t pos) {
        const unicode::Decoded c = unicode::DecodeValid(text.data() + pos);
        const bool numeric = classes[c.code_point] & unicode::kNumeric;
        pos += c.size;
        if (numeric && stage.kind == StageKind::kDigit) return pos;
        while (pos < text.size()) {
          const unicode::Decoded d = unicode::DecodeValid(text.data() + pos);
          if (static_cast<bool>(classes[d.code_point] & unicode::kNumeric) != numeric) break;
          pos += d.size;
        }
        return pos;
      });
    case StageKind::kPrefixSpace:
      if (text.front() == ' ') return next(text);
      return next(" " + std::string(text));
  }
}

}  // namespace inkstone

#include "tokenizer/pretokenizer.h"

namespace inkstone {
namespace {

constexpr std::string_view kGpt2Regex = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace

std::string_view RegexOf(StageKind kind) {
  switch (kind) {
    case StageKind::kGpt2:
      return kGpt2Regex;
    case StageKind::kQwen2:
      return kQwen2Regex;
    case StageKind::kLlama3:
      return kLlama3Regex;
    default:
      return {};
  }
}

Result<PretokenizerStage> StageFromRegex(std::string_view regex) {
  for (const StageKind kind : {StageKind::kGpt2, StageKind::kQwen2, StageKind::kLlama3}) {
    if (regex == RegexOf(kind)) return PretokenizerStage{kind, {}};
  }
  return GenericStageFromRegex(regex);
}

Result<PretokenizerStage> GenericStageFromRegex(std::string_view regex) {
  INK_ASSIGN_OR_RETURN(SplitRegex compiled, SplitRegex::Compile(regex));
  return PretokenizerStage{StageKind::kRegex, {std::move(compiled)}};
}

namespace scan {
namespace {

using unicode::ClassTable;
using unicode::Decoded;
using unicode::DecodeValid;
using unicode::kLetter;
using unicode::kNumber;
using unicode::kSpace;

constexpr uint8_t kAny = kLetter | kNumber | kSpace;

// A position in valid UTF-8; at the end the class is kNone and the size 0.
struct Cursor {
  static constexpr uint8_t kNone = 0xFF;

  Cursor(const ClassTable& table, std::string_view s, size_t at) : classes(&table), text(s), pos(at) { Load(); }
  void Load() {
    if (pos >= text.size()) {
      current = {0, 0};
      bits = kNone;
      return;
    }
    current = DecodeValid(text.data() + pos);
    bits = (*classes)[current.code_point] & kAny;
  }
  void Advance() {
    pos += current.size;
    Load();
  }
  bool at_end() const { return bits == kNone; }
  bool letter() const { return bits != kNone && (bits & kLetter); }
  bool number() const { return bits != kNone && (bits & kNumber); }
  bool space() const { return bits != kNone && (bits & kSpace); }
  bool other() const { return bits == 0; }
  bool newline() const { return current.code_point == '\r' || current.code_point == '\n'; }

  const ClassTable* classes;
  std::string_view text;
  size_t pos;
  Decoded current{};
  uint8_t bits = 0;
};

size_t SkipLetters(Cursor c) {
  while (c.letter()) c.Advance();
  return c.pos;
}

// Size of "s", "t", "re", "ve", "m", "ll" or "d" at `pos` (after an apostrophe), 0 when there is none. Caseless
// matching takes U+017F (long s) for s, as the reference does.
size_t Contraction(std::string_view text, size_t pos, bool caseless) {
  const auto at = [&](size_t i) {
    if (i >= text.size()) return '\0';
    const char c = text[i];
    return caseless && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char first = at(pos);
  const char second = at(pos + 1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 1;
  if ((first == 'r' || first == 'v') && second == 'e') return 2;
  if (first == 'l' && second == 'l') return 2;
  if (caseless && text.substr(pos, 2) == "\xC5\xBF") return 2;
  return 0;
}

// `\s+(?!\S)|\s+` from a white-space character: all of a run at the end of the text, all but its last character before
// something else, one character when that is all.
size_t Spaces(Cursor c) {
  const size_t begin = c.pos;
  size_t last = begin;
  while (c.space()) {
    last = c.pos;
    c.Advance();
  }
  if (c.at_end() || last == begin) return c.pos;
  return last;
}

}  // namespace

size_t Gpt2(const ClassTable& classes, std::string_view text, size_t pos) {
  if (text[pos] == '\'') {
    if (const size_t size = Contraction(text, pos + 1, false); size > 0) return pos + 1 + size;
  }
  Cursor c(classes, text, pos);
  const Cursor start = c;
  if (c.current.code_point == ' ') c.Advance();
  if (c.letter()) return SkipLetters(c);
  if (c.number()) {
    while (c.number()) c.Advance();
    return c.pos;
  }
  if (c.other()) {
    while (c.other()) c.Advance();
    return c.pos;
  }
  return Spaces(start);
}

size_t Qwen2(const ClassTable& classes, std::string_view text, size_t pos, int max_digits) {
  if (text[pos] == '\'') {
    if (const size_t size = Contraction(text, pos + 1, true); size > 0) return pos + 1 + size;
  }
  const Cursor start(classes, text, pos);
  if (start.letter()) return SkipLetters(start);
  Cursor c = start;
  if (c.number()) {
    for (int i = 0; i < max_digits && c.number(); ++i) c.Advance();
    return c.pos;
  }
  c.Advance();
  if (c.letter() && !start.newline()) return SkipLetters(c);
  if (start.current.code_point != ' ') c = start;
  if (c.other()) {
    while (c.other()) c.Advance();
    while (c.newline()) c.Advance();
    return c.pos;
  }
  // White space: up to its last line break, if it has one.
  size_t after_break = 0;
  for (c = start; c.space(); c.Advance()) {
    if (c.newline()) after_break = c.pos + 1;
  }
  return after_break > 0 ? after_break : Spaces(start);
}

}  // namespace scan
}  // namespace inkstone

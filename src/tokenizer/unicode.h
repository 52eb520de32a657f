// UTF-8 and character classes, as the reference sees them (unicode_tables.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace inkstone::unicode {

enum class Utf8State {
  kValid,
  kIllFormed,  // can never become valid
  kTruncated,  // the text ends inside a sequence that is valid so far
};
struct Utf8Step {
  Utf8State state;
  char32_t code_point;  // of a valid sequence
  uint32_t size;        // bytes: of the sequence, or of the maximal ill-formed part (Unicode, section 3.9, table 3-7)
};
// The sequence at the start of `text`, which is not empty.
Utf8Step ReadUtf8(std::string_view text);

// `text` with every maximal ill-formed part replaced by U+FFFD (Python's errors="replace"). With `tail`, a truncated
// sequence at the end is moved there instead.
std::string ReplaceIllFormed(std::string_view text, std::string* tail = nullptr);
bool IsValidUtf8(std::string_view text);
void AppendUtf8(char32_t code_point, std::string* out);

struct Decoded {
  char32_t code_point;
  uint32_t size;  // bytes
};
// One code point of text that is known to be valid.
inline Decoded DecodeValid(const char* p) {
  const auto byte = [p](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  if (byte(0) < 0x80) return {byte(0), 1};
  if (byte(0) < 0xE0) return {(byte(0) & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (byte(0) < 0xF0) return {(byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}
// Bytes of the last code point of valid, non-empty text.
size_t LastSize(std::string_view text);

enum Class : uint8_t {
  kLetter = 1,
  kNumber = 2,
  kSpace = 4,
  kNumeric = 8,    // Digits pre-tokenizer
  kWord = 16,      // \w
  kUnstable = 32,  // NFC may change it, or move it, or join it to what is before
};

// Class bits of every code point, in two levels.
class ClassTable {
 public:
  // Immutable after its first use.
  static const ClassTable& Get();
  uint8_t operator[](char32_t c) const { return bits_[static_cast<size_t>(block_[c >> 8]) << 8 | (c & 0xFF)]; }

 private:
  ClassTable();
  std::vector<uint16_t> block_;
  std::vector<uint8_t> bits_;
};

}  // namespace inkstone::unicode

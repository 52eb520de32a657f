#include "tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "tokenizer/unicode.h"

namespace inkstone {
namespace {

// Printable Latin-1 stands for itself; the other bytes take U+0100, U+0101, ... in order.
constexpr bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

constexpr std::array<uint16_t, 256> MakeAlphabet() {
  std::array<uint16_t, 256> alphabet{};
  uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) alphabet[byte] = StandsForItself(byte) ? static_cast<uint16_t>(byte) : next++;
  return alphabet;
}
constexpr std::array<uint16_t, 256> kAlphabet = MakeAlphabet();

// Character -> byte, -1 outside the alphabet, which ends at U+0143.
constexpr std::array<int16_t, 0x144> MakeInverse() {
  std::array<int16_t, 0x144> inverse{};
  inverse.fill(-1);
  for (int byte = 0; byte < 256; ++byte) inverse[kAlphabet[byte]] = static_cast<int16_t>(byte);
  return inverse;
}
constexpr std::array<int16_t, 0x144> kInverse = MakeInverse();

}  // namespace

std::optional<std::string> BytesFromAlphabet(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  while (!text.empty()) {
    const unicode::Utf8Step step = unicode::ReadUtf8(text);
    if (step.state != unicode::Utf8State::kValid || step.code_point >= kInverse.size()) return std::nullopt;
    const int16_t byte = kInverse[step.code_point];
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    text.remove_prefix(step.size);
  }
  return bytes;
}

std::string AlphabetFromBytes(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) unicode::AppendUtf8(kAlphabet[static_cast<unsigned char>(c)], &text);
  return text;
}

}  // namespace inkstone

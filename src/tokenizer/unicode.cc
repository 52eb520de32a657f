#include "tokenizer/unicode.h"

#include <cstring>
#include <unordered_map>

#include "tokenizer/unicode_tables.h"

namespace inkstone::unicode {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Length of the ASCII run at the start.
size_t AsciiPrefix(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080u) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

}  // namespace

Utf8Step ReadUtf8(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Utf8State::kValid, lead, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8State::kIllFormed, 0, 1};
  const uint32_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // Only the second byte's range depends on the lead: no overlong forms, no surrogates, nothing above U+10FFFF.
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  char32_t code_point = lead & (0x7Fu >> size);
  for (uint32_t i = 1; i < size; ++i) {
    if (i == text.size()) return {Utf8State::kTruncated, 0, i};
    if (byte(i) < low || byte(i) > high) return {Utf8State::kIllFormed, 0, i};
    code_point = code_point << 6 | (byte(i) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8State::kValid, code_point, size};
}

std::string ReplaceIllFormed(std::string_view text, std::string* tail) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    if (const size_t ascii = AsciiPrefix(text); ascii > 0) {
      out.append(text.substr(0, ascii));
      text.remove_prefix(ascii);
      continue;
    }
    const Utf8Step step = ReadUtf8(text);
    if (step.state == Utf8State::kTruncated && tail != nullptr) {
      tail->assign(text);
      return out;
    }
    out.append(step.state == Utf8State::kValid ? text.substr(0, step.size) : kReplacement);
    text.remove_prefix(step.size);
  }
  if (tail != nullptr) tail->clear();
  return out;
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    if (const size_t ascii = AsciiPrefix(text); ascii > 0) {
      text.remove_prefix(ascii);
      continue;
    }
    const Utf8Step step = ReadUtf8(text);
    if (step.state != Utf8State::kValid) return false;
    text.remove_prefix(step.size);
  }
  return true;
}

void AppendUtf8(char32_t code_point, std::string* out) {
  const auto put = [out](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

size_t LastSize(std::string_view text) {
  size_t size = 1;
  while (size < text.size() && (static_cast<unsigned char>(text[text.size() - size]) & 0xC0) == 0x80) ++size;
  return size;
}

const ClassTable& ClassTable::Get() {
  static const ClassTable kTable;
  return kTable;
}

ClassTable::ClassTable() {
  std::vector<uint8_t> flat(0x110000, 0);
  const auto paint = [&flat](char32_t first, char32_t last, uint8_t bit) {
    for (char32_t c = first; c <= last; ++c) flat[c] |= bit;
  };
  for (const Range& r : Letters()) paint(r.first, r.last, kLetter);
  for (const Range& r : Numbers()) paint(r.first, r.last, kNumber);
  for (const Range& r : Spaces()) paint(r.first, r.last, kSpace);
  for (const Range& r : Numerics()) paint(r.first, r.last, kNumeric);
  for (const Range& r : Words()) paint(r.first, r.last, kWord);
  for (const ClassRange& r : CombiningClasses()) paint(r.first, r.last, kUnstable);
  for (const Decomposition& d : Decompositions()) paint(d.composed, d.composed, kUnstable);
  for (const Composition& c : Compositions()) paint(c.second, c.second, kUnstable);
  paint(0x1161, 0x1175, kUnstable);  // Hangul vowels and trailing consonants join what is before
  paint(0x11A8, 0x11C2, kUnstable);

  std::unordered_map<std::string_view, uint16_t> known;
  for (size_t begin = 0; begin < flat.size(); begin += 256) {
    const std::string_view block(reinterpret_cast<const char*>(flat.data() + begin), 256);
    const auto [it, added] = known.emplace(block, static_cast<uint16_t>(known.size()));
    if (added) bits_.insert(bits_.end(), flat.begin() + begin, flat.begin() + begin + 256);
    block_.push_back(it->second);
  }
}

}  // namespace inkstone::unicode

#include "tokenizer/normalizer.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tokenizer/unicode.h"
#include "tokenizer/unicode_tables.h"

namespace inkstone {
namespace {

using unicode::ClassTable;

// Hangul syllables by arithmetic (Unicode, section 3.12).
constexpr char32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr char32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

struct Mark {
  char32_t code_point;
  uint8_t combining_class;
};

uint8_t CombiningClass(char32_t c) {
  const auto& table = unicode::CombiningClasses();
  const auto it = std::partition_point(table.begin(), table.end(), [c](const auto& r) { return r.last < c; });
  return it != table.end() && it->first <= c ? it->combining_class : 0;
}

// The first step of a canonical decomposition; composed == 0 when there is none.
unicode::Decomposition Decompose(char32_t c) {
  if (c - kSBase < kSCount) {
    const char32_t s = c - kSBase;
    const char32_t t = s % kTCount;
    if (t != 0) return {c, c - t, kTBase + t};
    return {c, kLBase + s / (kVCount * kTCount), kVBase + s / kTCount % kVCount};
  }
  // Compositions are ordered for composing; one index by the composed character serves this direction.
  static const std::vector<unicode::Decomposition> kByComposed = [] {
    std::vector<unicode::Decomposition> table = unicode::Decompositions();
    for (const auto& x : unicode::Compositions()) table.push_back({x.composed, x.first, x.second});
    std::sort(table.begin(), table.end(), [](const auto& a, const auto& b) { return a.composed < b.composed; });
    return table;
  }();
  const auto it =
      std::partition_point(kByComposed.begin(), kByComposed.end(), [c](const auto& d) { return d.composed < c; });
  if (it == kByComposed.end() || it->composed != c) return {0, 0, 0};
  return *it;
}

// 0 when the two do not compose.
char32_t Compose(char32_t first, char32_t second) {
  if (first - kLBase < kLCount && second - kVBase < kVCount) {
    return kSBase + ((first - kLBase) * kVCount + (second - kVBase)) * kTCount;
  }
  if (first - kSBase < kSCount && (first - kSBase) % kTCount == 0 && second > kTBase && second < kTBase + kTCount) {
    return first + (second - kTBase);
  }
  const auto& table = unicode::Compositions();
  const auto it = std::partition_point(table.begin(), table.end(), [first, second](const auto& x) {
    return x.first < first || (x.first == first && x.second < second);
  });
  return it != table.end() && it->first == first && it->second == second ? it->composed : 0;
}

void AppendDecomposed(char32_t c, std::vector<Mark>* out) {
  const unicode::Decomposition d = Decompose(c);
  if (d.composed == 0) {
    out->push_back({c, CombiningClass(c)});
    return;
  }
  AppendDecomposed(d.first, out);
  if (d.second != 0) AppendDecomposed(d.second, out);
}

// Canonical ordering: stable by class within each run of marks.
void Reorder(std::vector<Mark>* marks) {
  auto it = marks->begin();
  while (it != marks->end()) {
    if (it->combining_class == 0) {
      ++it;
      continue;
    }
    const auto end = std::find_if(it, marks->end(), [](const Mark& m) { return m.combining_class == 0; });
    std::stable_sort(it, end, [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    it = end;
  }
}

// Canonical composition in place (Unicode, D117): a mark joins the last starter unless something of the same or a
// higher class stands between them.
void ComposeInPlace(std::vector<Mark>* marks) {
  size_t out = 0;
  size_t starter = SIZE_MAX;
  int last_class = -1;  // class of what was kept after the starter, -1 when nothing was
  for (const Mark mark : *marks) {
    if (starter != SIZE_MAX && last_class < static_cast<int>(mark.combining_class)) {
      if (const char32_t composed = Compose((*marks)[starter].code_point, mark.code_point); composed != 0) {
        (*marks)[starter].code_point = composed;
        continue;
      }
    }
    if (mark.combining_class == 0) {
      starter = out;
      last_class = -1;
    } else {
      last_class = mark.combining_class;
    }
    (*marks)[out++] = mark;
  }
  marks->resize(out);
}

// Byte offset of the first unstable character at or after `pos`; the size of the text when there is none.
// `starter` receives the offset of the stable character before it.
size_t FindUnstable(std::string_view text, size_t pos, size_t* starter) {
  const ClassTable& classes = ClassTable::Get();
  *starter = pos;
  while (pos < text.size()) {
    if (pos + 8 < text.size()) {
      uint64_t word;
      std::memcpy(&word, text.data() + pos, 8);
      if ((word & 0x8080808080808080u) == 0) {
        pos += 8;
        *starter = pos - 1;
        continue;
      }
    }
    const unicode::Decoded c = unicode::DecodeValid(text.data() + pos);
    if (classes[c.code_point] & unicode::kUnstable) return pos;
    *starter = pos;
    pos += c.size;
  }
  return pos;
}

}  // namespace

std::string_view NormalizeNfc(std::string_view text, std::string* buffer) {
  const ClassTable& classes = ClassTable::Get();
  size_t starter = 0;
  size_t unstable = FindUnstable(text, 0, &starter);
  if (unstable == text.size()) return text;
  buffer->clear();
  buffer->reserve(text.size() + text.size() / 8);
  size_t copied = 0;
  std::vector<Mark> marks;
  while (unstable < text.size()) {
    // The text between stable characters is a closed world: nothing in it interacts across them.
    buffer->append(text.substr(copied, starter - copied));
    marks.clear();
    size_t pos = starter;
    while (pos < text.size()) {
      const unicode::Decoded c = unicode::DecodeValid(text.data() + pos);
      if (pos >= unstable && (classes[c.code_point] & unicode::kUnstable) == 0) break;
      AppendDecomposed(c.code_point, &marks);
      pos += c.size;
    }
    Reorder(&marks);
    ComposeInPlace(&marks);
    for (const Mark& mark : marks) unicode::AppendUtf8(mark.code_point, buffer);
    copied = pos;
    unstable = FindUnstable(text, pos, &starter);
  }
  buffer->append(text.substr(copied));
  return *buffer;
}

}  // namespace inkstone

#include "jinja/text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

namespace inkstone::jinja {
namespace {

// Bytes from `pos` on that are ASCII.
size_t AsciiRun(std::string_view s, size_t pos) {
  size_t end = pos;
  while (end < s.size() && static_cast<unsigned char>(s[end]) < 0x80) ++end;
  return end - pos;
}

bool IsContinuation(unsigned char c) { return (c & 0xC0) == 0x80; }

// 0 when the bytes at `pos` are ill-formed.
size_t WellFormedBytes(std::string_view s, size_t pos) {
  const auto lead = static_cast<unsigned char>(s[pos]);
  if (lead < 0x80) return 1;
  const size_t n = lead >= 0xF0 && lead < 0xF5   ? 4
                   : lead >= 0xE0 && lead < 0xF0 ? 3
                   : lead >= 0xC2 && lead < 0xE0 ? 2
                                                 : 0;
  if (n == 0 || pos + n > s.size()) return 0;
  for (size_t i = 1; i < n; ++i) {
    if (!IsContinuation(static_cast<unsigned char>(s[pos + i]))) return 0;
  }
  return n;
}

utf8proc_category_t Category(int32_t c) { return utf8proc_category(c); }

// Unconditional mappings to more than one code point (Unicode's SpecialCasing.txt), those that occur in running text.
const char* SpecialUpper(int32_t c) {
  switch (c) {
    case 0xDF:
      return "SS";
    case 0x149:
      return "\xCA\xBCN";
    case 0x1F0:
      return "J\xCC\x8C";
    case 0xFB00:
      return "FF";
    case 0xFB01:
      return "FI";
    case 0xFB02:
      return "FL";
    case 0xFB03:
      return "FFI";
    case 0xFB04:
      return "FFL";
    case 0xFB05:
    case 0xFB06:
      return "ST";
    default:
      return nullptr;
  }
}

void AppendUpper(int32_t c, std::string_view bytes, std::string* out) {
  if (const char* special = SpecialUpper(c)) {
    *out += special;
    return;
  }
  const int32_t upper = utf8proc_toupper(c);
  if (upper == c) {
    *out += bytes;
  } else {
    AppendUtf8(upper, out);
  }
}

void AppendTitle(int32_t c, std::string_view bytes, std::string* out) {
  if (const char* special = SpecialUpper(c)) {
    *out += special[0];
    *out += Lower(special + 1);
    return;
  }
  const int32_t title = utf8proc_totitle(c);
  if (title == c) {
    *out += bytes;
  } else {
    AppendUtf8(title, out);
  }
}

bool IsCased(int32_t c) {
  const auto category = Category(c);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

// A capital sigma at the end of a word becomes the final form (Unicode, section 3.13).
bool IsFinalSigma(std::string_view s, size_t pos, size_t bytes) {
  bool before = false;
  for (size_t i = pos; i > 0 && !before;) {
    do {
      --i;
    } while (i > 0 && IsContinuation(static_cast<unsigned char>(s[i])));
    const int32_t c = CodePointAt(s, i);
    if (IsCased(c)) {
      before = true;
    } else if (Category(c) != UTF8PROC_CATEGORY_MN && c != '\'' && c != 0xAD) {
      return false;
    }
  }
  if (!before) return false;
  for (size_t i = pos + bytes; i < s.size(); i += CodePointBytes(s, i)) {
    const int32_t c = CodePointAt(s, i);
    if (IsCased(c)) return false;
    if (Category(c) != UTF8PROC_CATEGORY_MN && c != '\'' && c != 0xAD) return true;
  }
  return true;
}

void AppendLower(std::string_view s, size_t pos, size_t bytes, std::string* out) {
  const int32_t c = CodePointAt(s, pos);
  if (c == 0x130) {
    *out += "i\xCC\x87";
  } else if (c == 0x3A3) {
    *out += IsFinalSigma(s, pos, bytes) ? "\xCF\x82" : "\xCF\x83";
  } else if (const int32_t lower = utf8proc_tolower(c); lower != c) {
    AppendUtf8(lower, out);
  } else {
    *out += s.substr(pos, bytes);
  }
}

template <typename Predicate>
std::string_view Strip(std::string_view s, Side side, Predicate drop) {
  if (side != Side::kRight) {
    size_t begin = 0;
    while (begin < s.size()) {
      const size_t n = CodePointBytes(s, begin);
      if (!drop(s.substr(begin, n))) break;
      begin += n;
    }
    s.remove_prefix(begin);
  }
  if (side != Side::kLeft) {
    while (!s.empty()) {
      size_t begin = s.size() - 1;
      // Step back to a lead byte whose code point ends here; otherwise the last byte stands alone.
      for (size_t back = 1; back <= 4 && back <= s.size(); ++back) {
        if (WellFormedBytes(s, s.size() - back) == back) {
          begin = s.size() - back;
          break;
        }
      }
      if (!drop(s.substr(begin))) break;
      s = s.substr(0, begin);
    }
  }
  return s;
}

}  // namespace

size_t CodePointBytes(std::string_view s, size_t pos) { return std::max<size_t>(1, WellFormedBytes(s, pos)); }

int32_t CodePointAt(std::string_view s, size_t pos) {
  const size_t n = WellFormedBytes(s, pos);
  const auto lead = static_cast<unsigned char>(s[pos]);
  if (n == 0) return 0xDC00 + lead;
  if (n == 1) return lead;
  int32_t c = lead & (0x7F >> n);
  for (size_t i = 1; i < n; ++i) c = (c << 6) | (static_cast<unsigned char>(s[pos + i]) & 0x3F);
  return c;
}

void AppendUtf8(int32_t c, std::string* out) {
  if (c < 0x80) {
    *out += static_cast<char>(c);
    return;
  }
  if (c < 0x800) {
    *out += static_cast<char>(0xC0 | (c >> 6));
  } else {
    if (c < 0x10000) {
      *out += static_cast<char>(0xE0 | (c >> 12));
    } else {
      *out += static_cast<char>(0xF0 | (c >> 18));
      *out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    }
    *out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
  }
  *out += static_cast<char>(0x80 | (c & 0x3F));
}

int64_t CodePoints(std::string_view s) {
  int64_t n = 0;
  for (size_t i = 0; i < s.size();) {
    const size_t ascii = AsciiRun(s, i);
    n += static_cast<int64_t>(ascii);
    i += ascii;
    if (i >= s.size()) break;
    i += CodePointBytes(s, i);
    ++n;
  }
  return n;
}

size_t ByteOffset(std::string_view s, int64_t length, int64_t index) {
  if (index >= length) return s.size();
  if (length == static_cast<int64_t>(s.size())) return static_cast<size_t>(index);
  size_t pos = 0;
  for (; index > 0; --index) pos += CodePointBytes(s, pos);
  return pos;
}

bool IsSpace(int32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsLineBreak(int32_t c) {
  return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool IsPrintable(int32_t c) {
  if (c < 0x7F) return c >= 0x20;
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool IsAlpha(int32_t c) {
  const auto category = Category(c);
  return IsCased(c) || category == UTF8PROC_CATEGORY_LM || category == UTF8PROC_CATEGORY_LO;
}
bool IsDecimal(int32_t c) { return Category(c) == UTF8PROC_CATEGORY_ND; }
bool IsDigit(int32_t c) {
  return IsDecimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}
bool IsNumeric(int32_t c) {
  const auto category = Category(c);
  return IsDigit(c) || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}
bool IsUpper(int32_t c) { return Category(c) == UTF8PROC_CATEGORY_LU; }
bool IsLower(int32_t c) { return Category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA; }
bool IsTitle(int32_t c) { return Category(c) == UTF8PROC_CATEGORY_LT; }

std::string Upper(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (size_t i = 0, n; i < s.size(); i += n) {
    if (n = AsciiRun(s, i); n > 0) {
      for (char c : s.substr(i, n)) out += c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
      continue;
    }
    n = CodePointBytes(s, i);
    AppendUpper(CodePointAt(s, i), s.substr(i, n), &out);
  }
  return out;
}

std::string Lower(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (size_t i = 0, n; i < s.size(); i += n) {
    if (n = AsciiRun(s, i); n > 0) {
      for (char c : s.substr(i, n)) out += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      continue;
    }
    n = CodePointBytes(s, i);
    AppendLower(s, i, n, &out);
  }
  return out;
}

std::string CaseFold(std::string_view s) {
  std::string out;
  for (size_t i = 0, n; i < s.size(); i += n) {
    n = CodePointBytes(s, i);
    const int32_t c = CodePointAt(s, i);
    if (const char* special = SpecialUpper(c)) {
      out += Lower(special);
    } else if (c == 0x3C2 || c == 0x3A3) {
      out += "\xCF\x83";
    } else {
      AppendLower(s, i, n, &out);
    }
  }
  return out;
}

std::string SwapCase(std::string_view s) {
  std::string out;
  for (size_t i = 0, n; i < s.size(); i += n) {
    n = CodePointBytes(s, i);
    const int32_t c = CodePointAt(s, i);
    if (IsUpper(c)) {
      AppendLower(s, i, n, &out);
    } else if (IsLower(c)) {
      AppendUpper(c, s.substr(i, n), &out);
    } else {
      out += s.substr(i, n);
    }
  }
  return out;
}

std::string TitleCase(std::string_view s) {
  std::string out;
  bool in_word = false;
  for (size_t i = 0, n; i < s.size(); i += n) {
    n = CodePointBytes(s, i);
    const int32_t c = CodePointAt(s, i);
    if (in_word) {
      AppendLower(s, i, n, &out);
    } else {
      AppendTitle(c, s.substr(i, n), &out);
    }
    in_word = IsCased(c);
  }
  return out;
}

std::string Capitalize(std::string_view s) {
  std::string out;
  if (s.empty()) return out;
  const size_t first = CodePointBytes(s, 0);
  AppendTitle(CodePointAt(s, 0), s.substr(0, first), &out);
  for (size_t i = first, n; i < s.size(); i += n) {
    n = CodePointBytes(s, i);
    AppendLower(s, i, n, &out);
  }
  return out;
}

size_t FindText(std::string_view s, std::string_view needle, size_t from) {
  if (from > s.size()) return s.npos;
  if (needle.empty()) return from;
  if (needle.size() == 1) return s.find(needle[0], from);
  // The C library's search is the two-way algorithm (Crochemore and Perrin 1991).
  const void* found = memmem(s.data() + from, s.size() - from, needle.data(), needle.size());
  return found == nullptr ? s.npos : static_cast<size_t>(static_cast<const char*>(found) - s.data());
}

// Knuth, Morris and Pratt's search, from the end.
size_t FindLastText(std::string_view s, std::string_view needle) {
  if (needle.size() > s.size()) return s.npos;
  if (needle.empty()) return s.size();
  const size_t m = needle.size();
  const auto at = [&](size_t i) { return needle[m - 1 - i]; };
  std::vector<uint32_t> border(m, 0);  // of the first i + 1 bytes from the end
  for (size_t i = 1, k = 0; i < m; ++i) {
    while (k > 0 && at(i) != at(k)) k = border[k - 1];
    if (at(i) == at(k)) ++k;
    border[i] = static_cast<uint32_t>(k);
  }
  for (size_t i = s.size(), k = 0; i-- > 0;) {
    while (k > 0 && s[i] != at(k)) k = border[k - 1];
    if (s[i] == at(k)) ++k;
    if (k == m) return i;
  }
  return s.npos;
}

int64_t CountText(std::string_view s, std::string_view needle) {
  int64_t n = 0;
  for (size_t at = FindText(s, needle); at != s.npos; at = FindText(s, needle, at + needle.size())) ++n;
  return n;
}

std::string_view StripSpace(std::string_view s, Side side) {
  return Strip(s, side, [](std::string_view c) { return IsSpace(CodePointAt(c, 0)); });
}

std::string_view StripChars(std::string_view s, std::string_view chars, Side side) {
  std::unordered_set<std::string_view> set;
  for (size_t i = 0, n; i < chars.size(); i += n) {
    n = CodePointBytes(chars, i);
    set.insert(chars.substr(i, n));
  }
  return Strip(s, side, [&set](std::string_view c) { return set.contains(c); });
}

std::vector<std::string_view> SplitLines(std::string_view s, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t i = 0; i < s.size();) {
    size_t n = CodePointBytes(s, i);
    if (!IsLineBreak(CodePointAt(s, i))) {
      i += n;
      continue;
    }
    if (s[i] == '\r' && i + 1 < s.size() && s[i + 1] == '\n') n = 2;
    lines.push_back(s.substr(begin, (keep_ends ? i + n : i) - begin));
    i += n;
    begin = i;
  }
  if (begin < s.size()) lines.push_back(s.substr(begin));
  return lines;
}

std::vector<std::string_view> SplitSpace(std::string_view s, int64_t max_split, bool from_right) {
  std::vector<std::string_view> parts;
  const Side near = from_right ? Side::kRight : Side::kLeft;
  s = StripSpace(s, near);
  while (!s.empty()) {
    if (max_split >= 0 && static_cast<int64_t>(parts.size()) >= max_split) {
      parts.push_back(s);
      break;
    }
    const std::string_view rest = Strip(s, near, [](std::string_view c) { return !IsSpace(CodePointAt(c, 0)); });
    parts.push_back(from_right ? s.substr(rest.size()) : s.substr(0, s.size() - rest.size()));
    s = StripSpace(rest, near);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> SplitAt(std::string_view s, std::string_view separator, int64_t max_split,
                                      bool from_right) {
  std::vector<std::string_view> parts;
  while (max_split < 0 || static_cast<int64_t>(parts.size()) < max_split) {
    const size_t at = from_right ? FindLastText(s, separator) : FindText(s, separator);
    if (at == std::string_view::npos) break;
    if (from_right) {
      parts.push_back(s.substr(at + separator.size()));
      s = s.substr(0, at);
    } else {
      parts.push_back(s.substr(0, at));
      s = s.substr(at + separator.size());
    }
  }
  parts.push_back(s);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace inkstone::jinja

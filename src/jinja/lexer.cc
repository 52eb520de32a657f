#include "jinja/lexer.h"

#include <algorithm>
#include <array>

#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

bool IsDigitByte(char c) { return c >= '0' && c <= '9'; }
bool IsNameByte(char c) {
  return IsDigitByte(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// \r\n and \r become \n; one newline at the end is dropped.
std::string NormalizeNewlines(std::string_view source, bool drop_last) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (drop_last && out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeNewlines(source, true)), text_(source_) {}

  std::vector<Token> Run() {
    while (pos_ < text_.size()) Root();
    Push(TokenType::kEnd, pos_, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void FailAt(size_t pos, std::string message) { throw SyntaxError{PositionOf(pos), std::move(message)}; }

  // Called with growing offsets, so lines are counted once.
  Position PositionOf(size_t pos) {
    if (pos < counted_) {
      counted_ = 0;
      line_ = 1;
      line_start_ = 0;
    }
    for (; counted_ < pos; ++counted_) {
      if (text_[counted_] == '\n') {
        ++line_;
        line_start_ = counted_ + 1;
      }
    }
    return {line_, static_cast<int>(pos - line_start_) + 1};
  }

  void Push(TokenType type, size_t pos, std::string text) {
    tokens_.push_back({type, PositionOf(pos), std::move(text)});
  }

  bool StartsWith(size_t pos, std::string_view what) const { return text_.substr(pos, what.size()) == what; }

  size_t SkipSpace(size_t pos) const {
    while (pos < text_.size() && IsSpace(CodePointAt(text_, pos))) pos += CodePointBytes(text_, pos);
    return pos;
  }

  // Text up to the next tag, with the white space control of that tag applied.
  void PushText(size_t begin, size_t end, char sign, bool is_output) {
    std::string_view data = text_.substr(begin, end - begin);
    if (sign == '-') {
      data = StripSpace(data, Side::kRight);
    } else if (sign != '+' && !is_output) {
      const size_t newline = data.rfind('\n');
      const size_t last_line = newline == data.npos ? 0 : newline + 1;
      if ((last_line > 0 || line_starting_) && StripSpace(data.substr(last_line), Side::kLeft).empty()) {
        data = data.substr(0, last_line);
      }
    }
    if (!data.empty()) Push(TokenType::kText, begin, std::string(data));
  }

  void Root() {
    const size_t begin = pos_;
    size_t tag = pos_;
    while (true) {
      tag = text_.find('{', tag);
      if (tag == text_.npos || tag + 1 >= text_.size()) {
        Push(TokenType::kText, begin, std::string(text_.substr(begin)));
        pos_ = text_.size();
        return;
      }
      const char c = text_[tag + 1];
      if (c == '%' || c == '{' || c == '#') break;
      ++tag;
    }
    const char kind = text_[tag + 1];
    size_t after = tag + 2;
    const char sign = after < text_.size() && (text_[after] == '-' || text_[after] == '+') ? text_[after] : ' ';
    if (sign != ' ') ++after;
    PushText(begin, tag, sign, kind == '{');
    if (kind == '%') {
      if (const size_t raw = MatchRaw(after)) {
        Raw(tag, raw);
      } else {
        Tag(tag, after, TokenType::kBlockBegin);
      }
    } else if (kind == '{') {
      Tag(tag, after, TokenType::kOutputBegin);
    } else {
      Comment(tag, after);
    }
  }

  void Advance(size_t end) {
    pos_ = end;
    line_starting_ = end > 0 && text_[end - 1] == '\n';
  }

  // The end of "raw %}" or 0.
  size_t MatchRaw(size_t pos) const {
    pos = SkipSpace(pos);
    if (!StartsWith(pos, "raw")) return 0;
    pos = SkipSpace(pos + 3);
    if (StartsWith(pos, "-%}")) return SkipSpace(pos + 3);
    return StartsWith(pos, "%}") ? pos + 2 : 0;
  }

  // The end of a closing mark such as "%}" at `pos` with its white space control, or 0.
  size_t MatchEnd(size_t pos, std::string_view mark, bool plus, bool trim) const {
    if (pos < text_.size() && text_[pos] == '-' && StartsWith(pos + 1, mark)) return SkipSpace(pos + 1 + mark.size());
    if (plus && pos < text_.size() && text_[pos] == '+' && StartsWith(pos + 1, mark)) return pos + 1 + mark.size();
    if (!StartsWith(pos, mark)) return 0;
    pos += mark.size();
    return trim && pos < text_.size() && text_[pos] == '\n' ? pos + 1 : pos;
  }

  void Comment(size_t tag, size_t begin) {
    for (size_t pos = begin; pos < text_.size(); ++pos) {
      if (const size_t end = MatchEnd(pos, "#}", true, true)) {
        Advance(end);
        return;
      }
    }
    if (begin == text_.size()) return Advance(begin);  // jinja2 takes a lone mark at the end
    FailAt(tag, "expected the end of a comment, found the end of the template");
  }

  void Raw(size_t tag, size_t begin) {
    line_starting_ = text_[begin - 1] == '\n';
    for (size_t pos = text_.find("{%", begin); pos != text_.npos; pos = text_.find("{%", pos + 1)) {
      size_t at = pos + 2;
      const char sign = at < text_.size() && (text_[at] == '-' || text_[at] == '+') ? text_[at] : ' ';
      at = SkipSpace(sign == ' ' ? at : at + 1);
      if (!StartsWith(at, "endraw")) continue;
      if (const size_t end = MatchEnd(SkipSpace(at + 6), "%}", true, true)) {
        PushText(begin, pos, sign, false);
        Advance(end);
        return;
      }
    }
    if (begin == text_.size()) return Advance(begin);
    FailAt(tag, "expected {% endraw %}, found the end of the template");
  }

  void Tag(size_t tag, size_t pos, TokenType begin) {
    const bool block = begin == TokenType::kBlockBegin;
    Push(begin, tag, std::string(text_.substr(tag, 2)));
    std::string open;  // brackets that are open
    while (pos < text_.size()) {
      if (open.empty()) {
        if (const size_t end = MatchEnd(pos, block ? "%}" : "}}", block, block)) {
          Push(block ? TokenType::kBlockEnd : TokenType::kOutputEnd, pos, block ? "%}" : "}}");
          Advance(end);
          return;
        }
      }
      if (const size_t space = SkipSpace(pos); space > pos) {
        pos = space;
      } else {
        pos = ScanToken(pos, &open);
      }
    }
    pos_ = text_.size();
  }

  size_t ScanToken(size_t pos, std::string* open) {
    const char c = text_[pos];
    if (IsDigitByte(c)) return ScanNumber(pos);
    if (IsNameByte(c)) {
      size_t end = pos;
      while (end < text_.size() && IsNameByte(text_[end])) end += CodePointBytes(text_, end);
      Push(TokenType::kName, pos, std::string(text_.substr(pos, end - pos)));
      return end;
    }
    if (c == '\'' || c == '"') return ScanString(pos);
    return ScanOperator(pos, open);
  }

  // Digits with single underscores between them.
  size_t Digits(size_t pos, bool (*is_digit)(char)) const {
    while (pos < text_.size() &&
           (is_digit(text_[pos]) || (text_[pos] == '_' && pos + 1 < text_.size() && is_digit(text_[pos + 1])))) {
      ++pos;
    }
    return pos;
  }

  size_t ScanNumber(size_t pos) {
    if (pos == 0 || text_[pos - 1] != '.') {
      if (const size_t end = MatchFloat(pos)) return PushNumber(TokenType::kFloat, pos, end);
    }
    if (text_[pos] == '0' && pos + 1 < text_.size()) {
      const char base = static_cast<char>(text_[pos + 1] | 0x20);
      bool (*is_digit)(char) = nullptr;
      if (base == 'b') is_digit = [](char c) { return c == '0' || c == '1'; };
      if (base == 'o') is_digit = [](char c) { return c >= '0' && c <= '7'; };
      if (base == 'x') {
        is_digit = [](char c) { return IsDigitByte(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); };
      }
      if (is_digit != nullptr) {
        if (const size_t end = Digits(pos + 2, is_digit); end > pos + 2) {
          return PushNumber(TokenType::kInteger, pos, end);
        }
      }
    }
    if (text_[pos] == '0') {
      return PushNumber(TokenType::kInteger, pos, Digits(pos, [](char c) { return c == '0'; }));
    }
    return PushNumber(TokenType::kInteger, pos, Digits(pos, IsDigitByte));
  }

  size_t MatchFloat(size_t pos) const {
    size_t end = Digits(pos, IsDigitByte);
    bool is_float = false;
    if (end + 1 < text_.size() && text_[end] == '.' && IsDigitByte(text_[end + 1])) {
      end = Digits(end + 1, IsDigitByte);
      is_float = true;
    }
    if (end < text_.size() && (text_[end] | 0x20) == 'e') {
      size_t digits = end + 1;
      if (digits < text_.size() && (text_[digits] == '+' || text_[digits] == '-')) ++digits;
      if (digits < text_.size() && IsDigitByte(text_[digits])) return Digits(digits, IsDigitByte);
    }
    return is_float ? end : 0;
  }

  size_t PushNumber(TokenType type, size_t pos, size_t end) {
    std::string digits(text_.substr(pos, end - pos));
    std::erase(digits, '_');
    Push(type, pos, std::move(digits));
    return end;
  }

  size_t ScanOperator(size_t pos, std::string* open) {
    static constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                                    "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                                    ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    const auto it =
        std::find_if(kOperators.begin(), kOperators.end(), [&](std::string_view op) { return StartsWith(pos, op); });
    if (it == kOperators.end()) {
      FailAt(pos, "unexpected character '" + std::string(text_.substr(pos, CodePointBytes(text_, pos))) + "'");
    }
    const char c = (*it)[0];
    if (c == '{' || c == '(' || c == '[') {
      *open += c == '{' ? '}' : c == '(' ? ')' : ']';
    } else if (c == '}' || c == ')' || c == ']') {
      if (open->empty()) FailAt(pos, std::string("unexpected '") + c + "'");
      if (open->back() != c) FailAt(pos, std::string("expected '") + open->back() + "', found '" + c + "'");
      open->pop_back();
    }
    Push(TokenType::kOperator, pos, std::string(*it));
    return pos + it->size();
  }

  size_t ScanString(size_t pos) {
    size_t end = pos + 1;
    while (end < text_.size() && text_[end] != text_[pos]) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) FailAt(pos, "expected the end of a string, found the end of the template");
    Push(TokenType::kString, pos, Unescape(pos + 1, text_.substr(pos + 1, end - pos - 1)));
    return end + 1;
  }

  // Python's escapes; unknown ones are kept.
  std::string Unescape(size_t at, std::string_view s) {
    std::string out;
    for (size_t i = 0; i < s.size(); ++i) {
      if (s[i] != '\\') {
        out += s[i];
        continue;
      }
      const char c = s[++i];
      static constexpr std::string_view kFrom = "\\'\"abfnrtv";
      static constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
      if (const size_t k = kFrom.find(c); k != kFrom.npos) {
        out += kTo[k];
      } else if (c >= '0' && c <= '7') {
        int32_t code = 0;
        const size_t stop = std::min(i + 3, s.size());
        for (; i < stop && s[i] >= '0' && s[i] <= '7'; ++i) code = code * 8 + (s[i] - '0');
        --i;
        AppendUtf8(code, &out);
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        AppendUtf8(HexEscape(at + i, s.substr(i + 1, digits), digits), &out);
        i += digits;
      } else if (c == 'N') {
        FailAt(at + i, "named characters in strings are not supported");
      } else if (c != '\n') {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  int32_t HexEscape(size_t at, std::string_view hex, size_t digits) {
    uint32_t code = 0;
    bool valid = hex.size() == digits;
    for (char h : hex) {
      const char lower = static_cast<char>(h | 0x20);
      valid = valid && (IsDigitByte(h) || (lower >= 'a' && lower <= 'f'));
      code = code * 16 + static_cast<uint32_t>(IsDigitByte(h) ? h - '0' : lower - 'a' + 10);
    }
    if (!valid || code > 0x10FFFF) FailAt(at, "truncated or illegal escape in a string");
    return static_cast<int32_t>(code);
  }

  std::string source_;
  std::string_view text_;
  size_t pos_ = 0;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
  size_t counted_ = 0;
  size_t line_start_ = 0;
  int line_ = 1;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace inkstone::jinja

// Filters on text and numbers.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "jinja/filters.h"
#include "jinja/json.h"
#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

bool IsMarkup(const Value& v) { return v.is_string() && v.string().markup; }

// Runs a method of str on the text of the subject, as filters such as |upper do.
Value ByMethod(Runtime& rt, std::string_view method, const Value& subject, std::vector<Value> rest = {}) {
  Args args;
  args.positional.push_back(subject.is_string() ? subject : rt.Str(ToText(rt, subject)));
  for (Value& v : rest) args.positional.push_back(std::move(v));
  return FindStringMethod(method)(rt, args);
}

}  // namespace

Value FilterString(Runtime& rt, const Args& args) {
  const Params p("string", args, {"s"}, 1);
  return p[0].is_string() ? p[0] : rt.Str(ToText(rt, p[0]));
}

Value FilterSafe(Runtime& rt, const Args& args) {
  const Params p("safe", args, {"value"}, 1);
  return rt.Str(ToText(rt, p[0]), true);
}

Value FilterEscape(Runtime& rt, const Args& args) {
  const Params p("escape", args, {"s"}, 1);
  if (IsMarkup(p[0])) return p[0];
  return rt.Str(Escape(rt, ToText(rt, p[0])), true);
}

Value FilterForceEscape(Runtime& rt, const Args& args) {
  const Params p("forceescape", args, {"value"}, 1);
  return rt.Str(Escape(rt, ToText(rt, p[0])), true);
}

Value FilterUpper(Runtime& rt, const Args& args) {
  const Params p("upper", args, {"s"}, 1);
  return ByMethod(rt, "upper", p[0]);
}

Value FilterLower(Runtime& rt, const Args& args) {
  const Params p("lower", args, {"s"}, 1);
  return ByMethod(rt, "lower", p[0]);
}

Value FilterCapitalize(Runtime& rt, const Args& args) {
  const Params p("capitalize", args, {"s"}, 1);
  return ByMethod(rt, "capitalize", p[0]);
}

// Words begin after white space and opening brackets and hyphens: not as str.title.
Value FilterTitle(Runtime& rt, const Args& args) {
  const Params p("title", args, {"s"}, 1);
  const std::string s = ToText(rt, p[0]);
  rt.Work(s.size() * 4);
  std::string out;
  size_t word = 0;
  const auto flush = [&](size_t end) {
    if (word == end) return;
    const size_t first = CodePointBytes(s, word);
    out += Upper(std::string_view(s).substr(word, first));
    out += Lower(std::string_view(s).substr(word + first, end - word - first));
  };
  for (size_t i = 0, n; i < s.size(); i += n) {
    n = CodePointBytes(s, i);
    const int32_t c = CodePointAt(s, i);
    if (IsSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<') {
      flush(i);
      out.append(s, i, n);
      word = i + n;
    }
  }
  flush(s.size());
  return rt.Str(std::move(out));
}

Value FilterTrim(Runtime& rt, const Args& args) {
  const Params p("trim", args, {"value", "chars"}, 1);
  return ByMethod(rt, "strip", p[0], {p.get(1, Value::None())});
}

Value FilterCenter(Runtime& rt, const Args& args) {
  const Params p("center", args, {"value", "width"}, 1);
  return ByMethod(rt, "center", p[0], {p.get(1, Value::Integer(80))});
}

Value FilterReplace(Runtime& rt, const Args& args) {
  const Params p("replace", args, {"s", "old", "new", "count"}, 3);
  const Value old_text = rt.Str(ToText(rt, p[1]));
  const Value new_text = rt.Str(ToText(rt, p[2]));
  return ByMethod(rt, "replace", rt.Str(ToText(rt, p[0])),
                  {old_text, new_text, p.given(3) ? p[3] : Value::Integer(-1)});
}

Value FilterIndent(Runtime& rt, const Args& args) {
  const Params p("indent", args, {"s", "width", "first", "blank"}, 1);
  if (!p[0].is_string()) Fail("indent: expected a string, found " + std::string(TypeName(p[0])));
  std::string indent(4, ' ');
  if (p.has(1) && p[1].is_string()) {
    indent = p[1].text();
  } else if (p.has(1)) {
    const int64_t width = std::max<int64_t>(0, p.integer(1, 4));
    rt.Reserve(static_cast<size_t>(width));
    indent.assign(static_cast<size_t>(width), ' ');
  }
  const bool blank = p.flag(3, false);
  const std::string text = p[0].text() + "\n";
  const auto lines = SplitLines(text, false);
  rt.Work(text.size());
  rt.Work(lines.size() * 256);
  std::string out = p.flag(2, false) ? indent : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out += '\n';
      if (blank || !lines[i].empty()) out += indent;
    }
    out += lines[i];
    rt.Reserve(out.size());
  }
  return rt.Str(std::move(out), IsMarkup(p[0]));
}

Value FilterTruncate(Runtime& rt, const Args& args) {
  const Params p("truncate", args, {"s", "length", "killwords", "end", "leeway"}, 1);
  const std::string end = p.has(3) ? p.text(3, "end") : "...";
  const int64_t length = p.integer(1, 255);
  const int64_t leeway = p.given(4) ? p.integer(4, 5) : 5;
  const int64_t end_length = CodePoints(end);
  if (length < end_length || leeway < 0) Fail("truncate: expected a length of at least that of the end");
  const auto size = LengthOf(p[0]);
  if (!size.has_value()) Fail("object of type '" + std::string(TypeName(p[0])) + "' has no len()");
  if (*size - leeway <= length) return p[0];
  if (!p[0].is_string()) Fail("truncate: expected a string, found " + std::string(TypeName(p[0])));
  std::string cut = p[0].text().substr(0, ByteOffset(p[0].text(), *size, length - end_length));
  rt.Work(p[0].text().size());
  if (!p.flag(2, false)) {
    if (const size_t space = cut.rfind(' '); space != cut.npos) cut.resize(space);
  }
  return rt.Str(cut + end);
}

Value FilterWordCount(Runtime& rt, const Args& args) {
  const Params p("wordcount", args, {"s"}, 1);
  const std::string s = ToText(rt, p[0]);
  rt.Work(s.size() * 16);
  int64_t words = 0;
  bool in_word = false;
  for (size_t i = 0; i < s.size(); i += CodePointBytes(s, i)) {
    const int32_t c = CodePointAt(s, i);
    const bool is_word = c == '_' || IsAlpha(c) || IsNumeric(c);
    words += is_word && !in_word ? 1 : 0;
    in_word = is_word;
  }
  return Value::Integer(words);
}

Value FilterFormat(Runtime& rt, const Args& args) {
  if (args.positional.empty()) Fail("format: expected a value");
  if (args.positional.size() > 1 && !args.named.empty()) {
    Fail("can't handle positional and keyword arguments at the same time");
  }
  Value values;
  if (args.named.empty()) {
    values = rt.Tuple({args.positional.begin() + 1, args.positional.end()});
  } else {
    std::vector<Dict::Item> items;
    for (const auto& [name, value] : args.named) items.emplace_back(rt.Str(name), value);
    values = rt.MakeDict(std::move(items));
  }
  return rt.Str(FormatPercent(rt, ToText(rt, args.positional[0]), values), IsMarkup(args.positional[0]));
}

namespace {

std::string Quote(Runtime& rt, std::string_view s, bool for_query) {
  rt.Work(s.size() * 16);
  std::string out;
  for (char c : s) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                       c == '.' || c == '-' || c == '~' || (c == '/' && !for_query);
    if (plain) {
      out += c;
    } else if (c == ' ' && for_query) {
      out += '+';
    } else {
      char buffer[4];
      std::snprintf(buffer, sizeof(buffer), "%%%02X", static_cast<unsigned char>(c));
      out += buffer;
    }
  }
  return out;
}

}  // namespace

Value FilterUrlEncode(Runtime& rt, const Args& args) {
  const Params p("urlencode", args, {"value"}, 1);
  const bool pairs = p[0].is_sequence() || p[0].is_dict() || p[0].is_object() || p[0].is_undefined();
  if (!pairs) return rt.Str(Quote(rt, ToText(rt, p[0]), false));
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out += Quote(rt, ToText(rt, key), true) + "=" + Quote(rt, ToText(rt, value), true);
    rt.Reserve(out.size());
  };
  if (p[0].is_dict()) {
    for (const auto& [key, value] : p[0].dict().items) add(key, value);
    return rt.Str(std::move(out));
  }
  for (const Value& item : ToVector(rt, p[0])) {
    const std::vector<Value> pair = ToVector(rt, item);
    if (pair.size() != 2) Fail("urlencode: expected pairs");
    add(pair[0], pair[1]);
  }
  return rt.Str(std::move(out));
}

Value FilterToJson(Runtime& rt, const Args& args) {
  const Params p("tojson", args, {"x", "ensure_ascii", "indent", "separators", "sort_keys"}, 1);
  JsonStyle style;
  style.ensure_ascii = p.flag(1, false);
  style.sort_keys = p.flag(4, false);
  if (p.given(2)) {
    style.multi_line = true;
    style.item_separator = ",";
    if (p[2].is_string()) {
      style.indent = p[2].text();
    } else {
      const int64_t width = std::max<int64_t>(0, p.integer(2, 0));
      rt.Reserve(static_cast<size_t>(width));
      style.indent.assign(static_cast<size_t>(width), ' ');
    }
  }
  if (p.given(3)) {
    const std::vector<Value> separators = ToVector(rt, p[3]);
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      Fail("tojson: separators must be two strings");
    }
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  return rt.Str(ToJson(rt, p[0], style));
}

namespace {

// Python's float(text).
std::optional<double> ParseFloat(std::string_view s) {
  s = StripSpace(s, Side::kBoth);
  std::string digits;
  bool has_digit = false;
  for (size_t i = 0; i < s.size(); ++i) {
    const bool is_digit = s[i] >= '0' && s[i] <= '9';
    if (s[i] == '_') {
      const bool between = i > 0 && i + 1 < s.size() && std::isdigit(static_cast<unsigned char>(s[i - 1])) != 0 &&
                           std::isdigit(static_cast<unsigned char>(s[i + 1])) != 0;
      if (!between) return std::nullopt;
      continue;
    }
    has_digit |= is_digit;
    if (s[i] == 'x' || s[i] == 'X' || s[i] == '(') return std::nullopt;
    digits += s[i];
  }
  if (digits.empty() || IsSpace(static_cast<unsigned char>(digits[0]))) return std::nullopt;
  if (!has_digit) {
    const std::string word = Lower(digits[0] == '+' || digits[0] == '-' ? digits.substr(1) : digits);
    if (word != "inf" && word != "infinity" && word != "nan") return std::nullopt;
  }
  char* end = nullptr;
  const double d = std::strtod(digits.c_str(), &end);
  if (end != digits.c_str() + digits.size()) return std::nullopt;
  return d;
}

// Python's int(text, base); nothing when it would raise ValueError.
std::optional<Int> ParseInt(std::string_view s, int64_t base) {
  s = StripSpace(s, Side::kBoth);
  const bool negative = s.starts_with('-');
  if (negative || s.starts_with('+')) s.remove_prefix(1);
  if (s.size() > 1 && s[0] == '0') {
    const char mark = static_cast<char>(s[1] | 0x20);
    const int64_t prefix = mark == 'b' ? 2 : mark == 'o' ? 8 : mark == 'x' ? 16 : 0;
    if (prefix != 0 && (base == prefix || base == 0)) {
      base = prefix;
      s.remove_prefix(s.size() > 2 && s[2] == '_' ? 3 : 2);
    }
  }
  if (base == 0) {
    if (s.size() > 1 && s[0] == '0' && s.find_first_not_of("0_") != s.npos) return std::nullopt;
    base = 10;
  }
  if (base < 2 || base > 36 || s.empty() || s.front() == '_' || s.back() == '_') return std::nullopt;
  Int value = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '_') {
      if (s[i - 1] == '_') return std::nullopt;
      continue;
    }
    const char lower = static_cast<char>(s[i] | 0x20);
    const int digit = s[i] >= '0' && s[i] <= '9' ? s[i] - '0' : lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, Int{base}, &value) || __builtin_add_overflow(value, Int{digit}, &value)) {
      Fail("the integer is too large");
    }
  }
  return negative ? -value : value;
}

std::optional<Value> Truncated(double d) {
  if (!std::isfinite(d)) return std::nullopt;
  if (std::fabs(d) >= 1e38) Fail("the integer is too large");
  return Value::Integer(static_cast<Int>(d));
}

}  // namespace

Value FilterInt(Runtime& rt, const Args& args) {
  const Params p("int", args, {"value", "default", "base"}, 1);
  Value fallback = p.get(1, Value::Integer(0));
  const Value& v = p[0];
  if (v.is_undefined()) FailUndefined(v);
  if (v.is_integral()) return Value::Integer(v.integer());
  if (v.is_float()) {
    if (std::isinf(v.number())) Fail("cannot convert float infinity to integer");
    return Truncated(v.number()).value_or(fallback);
  }
  if (!v.is_string()) return fallback;
  rt.Work(v.text().size() * 8);
  if (const auto parsed = ParseInt(v.text(), p.integer(2, 10))) return Value::Integer(*parsed);
  if (const auto parsed = ParseFloat(v.text())) return Truncated(*parsed).value_or(fallback);
  return fallback;
}

Value FilterFloat(Runtime& rt, const Args& args) {
  const Params p("float", args, {"value", "default"}, 1);
  Value fallback = p.get(1, Value::Float(0));
  if (p[0].is_undefined()) FailUndefined(p[0]);
  if (p[0].is_number()) return Value::Float(p[0].number());
  if (!p[0].is_string()) return fallback;
  rt.Work(p[0].text().size() * 8);
  const auto parsed = ParseFloat(p[0].text());
  return parsed.has_value() ? Value::Float(*parsed) : fallback;
}

Value FilterAbs(Runtime&, const Args& args) {
  const Params p("abs", args, {""}, 1);
  if (p[0].is_float()) return Value::Float(std::fabs(p[0].number()));
  if (!p[0].is_integral()) Fail("bad operand type for abs(): '" + std::string(TypeName(p[0])) + "'");
  return p[0].integer() < 0 ? Negate(p[0]) : Value::Integer(p[0].integer());
}

namespace {

Value RoundFloat(double d, int64_t digits) {
  if (!std::isfinite(d) || digits > 323) return Value::Float(d);
  if (digits < -308) return Value::Float(std::copysign(0.0, d));
  if (digits >= 0) {  // the C library rounds the exact binary value half to even, as Python does
    char buffer[800];
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(digits), d);
    return Value::Float(std::strtod(buffer, nullptr));
  }
  const double unit = std::pow(10.0, static_cast<double>(-digits));
  return Value::Float(std::nearbyint(d / unit) * unit);
}

Value RoundInt(Int i, int64_t digits) {
  if (digits >= 0) return Value::Integer(i);
  if (digits < -37) return Value::Integer(0);
  Int unit = 1;
  for (; digits < 0; ++digits) unit *= 10;
  Int rest = i % unit;
  Int base = i - rest;
  if (rest < 0) {
    rest += unit;
    base -= unit;
  }
  const bool up = rest * 2 > unit || (rest * 2 == unit && (base / unit) % 2 != 0);
  return Value::Integer(up ? base + unit : base);
}

}  // namespace

Value FilterRound(Runtime& rt, const Args& args) {
  const Params p("round", args, {"value", "precision", "method"}, 1);
  const std::string method = p.has(2) ? ToText(rt, p[2]) : "common";
  if (method != "common" && method != "ceil" && method != "floor") Fail("method must be common, ceil or floor");
  if (!p[0].is_number()) Fail("type " + std::string(TypeName(p[0])) + " doesn't define __round__ method");
  const int64_t digits = p.integer(1, 0);
  if (method == "common") {
    return p[0].is_float() ? RoundFloat(p[0].number(), digits) : RoundInt(p[0].integer(), digits);
  }
  const Value scale = Binary(rt, Operator::kPow, Value::Integer(10), Value::Integer(digits));
  const double scaled = Binary(rt, Operator::kMul, p[0], scale).number();
  if (!std::isfinite(scaled)) Fail("cannot convert float infinity or NaN to integer");
  return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale.number());
}

}  // namespace inkstone::jinja

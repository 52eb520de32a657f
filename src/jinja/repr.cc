// str(), repr() and the names of types.
#include <charconv>
#include <cmath>
#include <cstdio>

#include "jinja/runtime.h"
#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

void AppendQuoted(std::string_view s, std::string* out) {
  const char quote = s.find('\'') != s.npos && s.find('"') == s.npos ? '"' : '\'';
  *out += quote;
  for (size_t i = 0, n; i < s.size(); i += n) {
    for (n = 0; i + n < s.size() && s[i + n] >= ' ' && s[i + n] < 0x7F && s[i + n] != quote && s[i + n] != '\\';) ++n;
    if (n > 0) {
      *out += s.substr(i, n);
      continue;
    }
    n = CodePointBytes(s, i);
    const int32_t c = CodePointAt(s, i);
    if (c == quote || c == '\\') {
      *out += '\\';
      *out += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      *out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (IsPrintable(c)) {
      *out += s.substr(i, n);
    } else {
      char buffer[16];
      const char* format = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
      std::snprintf(buffer, sizeof(buffer), format, static_cast<unsigned>(c));
      *out += buffer;
    }
  }
  *out += quote;
}

void AppendRepr(Runtime& rt, const Value& v, std::string* out) {
  const Runtime::Nested nested(rt);  // a namespace may hold itself
  rt.Step();
  rt.Reserve(out->size());
  switch (v.type()) {
    case Type::kString:
      rt.Work(v.text().size());
      if (v.string().markup) *out += "Markup(";
      AppendQuoted(v.text(), out);
      if (v.string().markup) *out += ')';
      return;
    case Type::kList:
    case Type::kTuple: {
      *out += v.is_list() ? '[' : '(';
      const char* separator = "";
      for (const Value& item : v.items()) {
        *out += separator;
        AppendRepr(rt, item, out);
        separator = ", ";
      }
      if (v.is_tuple() && v.items().size() == 1) *out += ',';
      *out += v.is_list() ? ']' : ')';
      return;
    }
    case Type::kDict: {
      *out += '{';
      const char* separator = "";
      for (const auto& [key, value] : v.dict().items) {
        *out += separator;
        AppendRepr(rt, key, out);
        *out += ": ";
        AppendRepr(rt, value, out);
        separator = ", ";
      }
      *out += '}';
      return;
    }
    case Type::kUndefined:
      *out += "Undefined";
      return;
    case Type::kObject:
      *out += v.object().Repr(rt);
      return;
    default:
      *out += ToText(rt, v);
  }
}

}  // namespace

std::string_view TypeName(const Value& v) {
  switch (v.type()) {
    case Type::kUndefined:
      return "Undefined";
    case Type::kNone:
      return "NoneType";
    case Type::kBool:
      return "bool";
    case Type::kInt:
      return "int";
    case Type::kFloat:
      return "float";
    case Type::kString:
      return "str";
    case Type::kList:
      return "list";
    case Type::kTuple:
      return "tuple";
    case Type::kDict:
      return "dict";
    case Type::kObject:
      return v.object().type_name();
  }
  return "object";
}

void FailUndefined(const Value& v) {
  Fail(v.heap() == nullptr ? "a value is undefined" : static_cast<const Undefined*>(v.heap())->message);
}

std::string IntText(Int i) {
  if (i == 0) return "0";
  std::string digits;
  const bool negative = i < 0;
  for (; i != 0; i /= 10) {
    const int digit = static_cast<int>(i % 10);
    digits.insert(digits.begin(), static_cast<char>('0' + (digit < 0 ? -digit : digit)));
  }
  return negative ? "-" + digits : digits;
}

// Shortest digits that read back as the same double; exponent form outside 1e-4 .. 1e16, as float.__repr__.
std::string FloatText(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), d, std::chars_format::scientific).ptr;
  const std::string_view all(buffer, static_cast<size_t>(end - buffer));
  const size_t e = all.find('e');
  std::string digits;
  std::string out;
  for (char c : all.substr(0, e)) {
    if (c == '-') {
      out = "-";
    } else if (c != '.') {
      digits += c;
    }
  }
  const int exponent = std::atoi(std::string(all.substr(e + 1)).c_str());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) out += "." + digits.substr(1);
    std::snprintf(buffer, sizeof(buffer), "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
    return out + buffer;
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string ToText(Runtime& rt, const Value& v) {
  switch (v.type()) {
    case Type::kUndefined:
      return "";
    case Type::kNone:
      return "None";
    case Type::kBool:
      return v.boolean() ? "True" : "False";
    case Type::kInt:
      return IntText(v.integer());
    case Type::kFloat:
      return FloatText(v.number());
    case Type::kString:
      return v.text();
    default:
      return Repr(rt, v);
  }
}

std::string Repr(Runtime& rt, const Value& v) {
  std::string out;
  AppendRepr(rt, v, &out);
  rt.Reserve(out.size());
  return out;
}

std::string Escape(Runtime& rt, std::string_view text) {
  rt.Work(text.size());
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  rt.Reserve(out.size());
  return out;
}

}  // namespace inkstone::jinja

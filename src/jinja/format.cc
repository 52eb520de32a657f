// Python's two ways to format: "%s" % x and "{}".format(x).
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "jinja/runtime.h"
#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

constexpr int64_t kMaxWidth = 10'000;

struct Spec {
  std::string fill = " ";
  char align = 0;  // '<', '>', '^', '=' or none
  char sign = '-';
  bool alternate = false;
  bool grouping = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

int64_t ReadNumber(std::string_view s, size_t* pos) {
  int64_t n = 0;
  while (*pos < s.size() && s[*pos] >= '0' && s[*pos] <= '9') {
    n = std::min<int64_t>(n * 10 + (s[(*pos)++] - '0'), INT32_MAX);
  }
  if (n > kMaxWidth) Fail("format: a width or precision above " + std::to_string(kMaxWidth));
  return n;
}

std::string Digits(Int value, unsigned base, bool upper) {
  std::string out;
  const char* digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  unsigned __int128 rest = value < 0 ? -static_cast<unsigned __int128>(value) : static_cast<unsigned __int128>(value);
  do {
    out.insert(out.begin(), digits[static_cast<unsigned>(rest % base)]);
    rest /= base;
  } while (rest != 0);
  return out;
}

// Digits and exponent of |d|, printf style with Python's exponent of at least two digits.
std::string FloatDigits(double d, char type, int64_t precision, bool alternate) {
  d = std::fabs(d);
  const bool upper = type >= 'A' && type <= 'Z';
  if (std::isnan(d)) return upper ? "NAN" : "nan";
  if (std::isinf(d)) return upper ? "INF" : "inf";
  const std::string format = std::string("%") + (alternate ? "#" : "") + ".*" + type;
  const int digits = static_cast<int>(precision < 0 ? 6 : precision);
  std::string out(static_cast<size_t>(std::snprintf(nullptr, 0, format.c_str(), digits, d)), '\0');
  std::snprintf(out.data(), out.size() + 1, format.c_str(), digits, d);
  return out;
}

std::string Group(const std::string& digits) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string SignText(bool negative, char sign) {
  if (negative) return "-";
  return sign == '+' ? "+" : sign == ' ' ? " " : "";
}

std::string Pad(const std::string& sign, const std::string& body, const Spec& spec, char default_align) {
  const char align = spec.align != 0 ? spec.align : default_align;
  const int64_t missing = std::max<int64_t>(0, spec.width - CodePoints(sign) - CodePoints(body));
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string before, after;
  for (int64_t i = 0; i < left; ++i) before += spec.fill;
  for (int64_t i = left; i < missing; ++i) after += spec.fill;
  return align == '=' ? sign + before + body : before + sign + body + after;
}

std::string Cut(const std::string& text, int64_t precision) {
  return precision < 0 ? text : text.substr(0, ByteOffset(text, CodePoints(text), precision));
}

Int ToInt(const Value& v, char type) {
  if (v.is_undefined()) FailUndefined(v);
  if (v.is_integral()) return v.integer();
  if (v.is_float() && (type == 'd' || type == 'i' || type == 'u') && std::fabs(v.number()) < 1e38) {
    return static_cast<Int>(v.number());
  }
  Fail(std::string("%") + type + " format: a number is required, not " + std::string(TypeName(v)));
}

// printf style: %[(key)][flags][width][.precision]type
class PercentFormatter {
 public:
  PercentFormatter(Runtime& rt, const std::string& format, const Value& args) : rt_(rt), format_(format), args_(args) {}

  std::string Run() {
    std::string out;
    for (size_t i = 0; i < format_.size(); ++i) {
      if (format_[i] != '%') {
        out += format_[i];
        continue;
      }
      ++i;
      out += Conversion(&i);
      rt_.Step();
      rt_.Reserve(out.size());
    }
    const bool all_used = args_.is_tuple() ? next_ == args_.items().size()
                                           : next_ > 0 || args_.is_dict() || args_.is_list() || args_.is_undefined();
    if (!all_used) Fail("not all arguments converted during string formatting");
    return out;
  }

 private:
  Value Next() {
    const size_t i = next_++;
    if (args_.is_tuple()) {
      if (i < args_.items().size()) return args_.items()[i];
    } else if (i == 0) {
      return args_;
    }
    Fail("not enough arguments for format string");
  }

  std::string Conversion(size_t* pos) {
    Spec spec;
    std::optional<Value> keyed;
    if (*pos < format_.size() && format_[*pos] == '(') {
      const size_t close = format_.find(')', *pos);
      if (close == format_.npos) Fail("incomplete format key");
      if (!args_.is_dict()) Fail("format requires a mapping");
      const std::string key = format_.substr(*pos + 1, close - *pos - 1);
      const Value* found = Find(rt_, args_.dict(), key);
      if (found == nullptr) Fail("format: no key '" + key + "'");
      keyed = *found;
      *pos = close + 1;
    }
    bool zero = false;
    for (; *pos < format_.size(); ++*pos) {
      const char c = format_[*pos];
      if (c == '-') {
        spec.align = '<';
      } else if (c == '+' || (c == ' ' && spec.sign != '+')) {
        spec.sign = c;
      } else if (c == '0') {
        zero = true;
      } else if (c == '#') {
        spec.alternate = true;
      } else if (c != ' ') {
        break;
      }
    }
    spec.width = Number(pos, &spec);
    if (*pos < format_.size() && format_[*pos] == '.') {
      ++*pos;
      spec.precision = std::max<int64_t>(0, Number(pos, nullptr));
    }
    while (*pos < format_.size() && (format_[*pos] == 'l' || format_[*pos] == 'h' || format_[*pos] == 'L')) ++*pos;
    if (*pos >= format_.size()) Fail("incomplete format");
    spec.type = format_[*pos];
    if (spec.type == '%') return "%";
    if (zero && spec.align == 0) {
      spec.align = '=';
      spec.fill = "0";
    }
    return Convert(keyed.has_value() ? *keyed : Next(), spec);
  }

  int64_t Number(size_t* pos, Spec* spec) {
    if (*pos >= format_.size() || format_[*pos] != '*') return ReadNumber(format_, pos);
    ++*pos;
    const Value v = Next();
    if (!v.is_integral()) Fail("* wants int");
    int64_t n = ToInt64(v.integer());
    if (n < 0 && spec != nullptr) {
      spec->align = '<';
      n = n == INT64_MIN ? INT64_MAX : -n;
    }
    if (n > kMaxWidth) Fail("format: a width or precision above " + std::to_string(kMaxWidth));
    return n;
  }

  std::string Convert(const Value& v, Spec spec) {
    switch (spec.type) {
      case 's':
      case 'r':
      case 'a': {
        if (spec.align == '=') spec = Spec{.width = spec.width, .precision = spec.precision, .type = spec.type};
        return Pad("", Cut(spec.type == 's' ? ToText(rt_, v) : Repr(rt_, v), spec.precision), spec, '>');
      }
      case 'c': {
        std::string text;
        if (v.is_string() && v.string().length == 1) {
          text = v.text();
        } else if (v.is_integral() && v.integer() >= 0 && v.integer() < 0x110000) {
          AppendUtf8(static_cast<int32_t>(v.integer()), &text);
        } else {
          Fail("%c requires int or char");
        }
        if (spec.align == '=') spec = Spec{.width = spec.width, .type = spec.type};
        return Pad("", text, spec, '>');
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o': {
        const Int value = ToInt(v, spec.type);
        const unsigned base = spec.type == 'o' ? 8 : spec.type == 'x' || spec.type == 'X' ? 16 : 10;
        std::string digits = Digits(value, base, spec.type == 'X');
        if (static_cast<int64_t>(digits.size()) < spec.precision) {
          digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
        }
        std::string sign = SignText(value < 0, spec.sign);
        if (spec.alternate && base != 10) sign += base == 8 ? "0o" : spec.type == 'X' ? "0X" : "0x";
        return Pad(sign, digits, spec, '>');
      }
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G': {
        if (v.is_undefined()) FailUndefined(v);
        if (!v.is_number()) Fail("must be real number, not " + std::string(TypeName(v)));
        return Pad(SignText(std::signbit(v.number()), spec.sign),
                   FloatDigits(v.number(), spec.type, spec.precision, spec.alternate), spec, '>');
      }
      default:
        Fail(std::string("unsupported format character '") + spec.type + "'");
    }
  }

  Runtime& rt_;
  const std::string& format_;
  const Value& args_;
  size_t next_ = 0;
};

Spec ParseSpec(std::string_view s) {
  Spec spec;
  size_t pos = 0;
  const auto is_align = [&](size_t i) { return i < s.size() && std::string_view("<>^=").find(s[i]) != s.npos; };
  const size_t first = s.empty() ? 0 : CodePointBytes(s, 0);
  if (!s.empty() && is_align(first)) {
    spec.fill = s.substr(0, first);
    spec.align = s[first];
    pos = first + 1;
  } else if (is_align(0)) {
    spec.align = s[pos++];
  }
  if (pos < s.size() && (s[pos] == '+' || s[pos] == '-' || s[pos] == ' ')) spec.sign = s[pos++];
  if (pos < s.size() && s[pos] == '#') {
    spec.alternate = true;
    ++pos;
  }
  if (pos < s.size() && s[pos] == '0') {
    if (spec.align == 0) {
      spec.align = '=';
      spec.fill = "0";
    }
    ++pos;
  }
  spec.width = ReadNumber(s, &pos);
  if (pos < s.size() && s[pos] == ',') {
    spec.grouping = true;
    ++pos;
  }
  if (pos < s.size() && s[pos] == '.') {
    const size_t digits = ++pos;
    spec.precision = ReadNumber(s, &pos);
    if (pos == digits) Fail("format specifier missing precision");
  }
  if (pos < s.size()) spec.type = s[pos++];
  if (pos < s.size()) Fail("invalid format specifier");
  return spec;
}

std::string FormatInt(Int value, const Spec& spec) {
  if (spec.precision >= 0) Fail("precision not allowed in integer format specifier");
  const char type = spec.type == 'n' || spec.type == 0 ? 'd' : spec.type;
  if (std::string_view("dbxXo").find(type) == std::string_view::npos) {
    Fail(std::string("unknown format code '") + type + "' for object of type 'int'");
  }
  const unsigned base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'd' ? 10 : 16;
  const std::string digits = Digits(value, base, type == 'X');
  std::string sign = SignText(value < 0, spec.sign);
  if (spec.alternate && base != 10) sign += std::string("0") + type;
  return Pad(sign, spec.grouping ? Group(digits) : digits, spec, '>');
}

std::string FormatFloat(double value, const Spec& spec) {
  const std::string sign = SignText(std::signbit(value), spec.sign);
  std::string digits;
  if (spec.type == 0 && spec.precision < 0) {
    digits = FloatText(std::fabs(value));
  } else if (spec.type == '%') {
    digits = FloatDigits(value * 100, 'f', spec.precision, spec.alternate) + "%";
  } else if (spec.type != 0 && std::string_view("eEfFgGn").find(spec.type) != std::string_view::npos) {
    digits = FloatDigits(value, spec.type == 'n' ? 'g' : spec.type, spec.precision, spec.alternate);
  } else {
    Fail("unsupported format code for object of type 'float'");
  }
  return Pad(sign, spec.grouping ? Group(digits) : digits, spec, '>');
}

std::string FormatValue(Runtime& rt, const Value& v, std::string_view text) {
  if (text.empty()) return ToText(rt, v);
  const Spec spec = ParseSpec(text);
  if (v.is_string()) {
    if ((spec.type != 0 && spec.type != 's') || spec.align == '=' || spec.sign != '-' || spec.grouping) {
      Fail("invalid format specifier for object of type 'str'");
    }
    return Pad("", Cut(v.text(), spec.precision), spec, '<');
  }
  const bool as_float = spec.type != 0 && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos;
  if (v.is_integral() && !as_float) return FormatInt(v.integer(), spec);
  if (v.is_number()) return FormatFloat(v.number(), spec);
  Fail("unsupported format string passed to " + std::string(TypeName(v)) + ".__format__");
}

// The value of a replacement field such as "0.name[3]"; `next` counts fields without a number.
Value Field(Runtime& rt, const std::string& field, const Args& args, size_t* next) {
  size_t pos = std::min(field.find_first_of(".["), field.size());
  const std::string first = field.substr(0, pos);
  Value value;
  const bool is_number = first.find_first_not_of("0123456789") == first.npos;
  if (is_number) {
    const size_t i = first.empty() ? (*next)++ : first.size() > 6 ? SIZE_MAX : std::stoul(first);
    if (i >= args.positional.size()) Fail("replacement index out of range for positional args");
    value = args.positional[i];
  } else {
    const auto it = std::find_if(args.named.begin(), args.named.end(), [&](const auto& a) { return a.first == first; });
    if (it == args.named.end()) Fail("format: no argument named '" + first + "'");
    value = it->second;
  }
  while (pos < field.size()) {
    const bool item = field[pos] == '[';
    const size_t end = std::min(item ? field.find(']', pos) : field.find_first_of(".[", pos + 1), field.size());
    const std::string name = field.substr(pos + 1, end - pos - 1);
    if (name.empty() || (item && end == field.size())) Fail("empty attribute in format string");
    const bool digits = name.find_first_not_of("0123456789") == name.npos && name.size() < 10;
    value = !item    ? GetAttribute(rt, value, name)
            : digits ? GetItem(rt, value, Value::Integer(std::stol(name)))
                     : GetItem(rt, value, rt.Str(name));
    pos = item ? end + 1 : end;
  }
  return value;
}

}  // namespace

std::string FormatPercent(Runtime& rt, const std::string& format, const Value& args) {
  return PercentFormatter(rt, format, args).Run();
}

std::string FormatBraces(Runtime& rt, const std::string& format, const Args& args) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    const char c = format[i];
    if (c != '{' && c != '}') {
      out += c;
      continue;
    }
    if (i + 1 < format.size() && format[i + 1] == c) {
      out += c;
      ++i;
      continue;
    }
    if (c == '}') Fail("single '}' encountered in format string");
    const size_t close = format.find('}', i);
    if (close == format.npos) Fail("expected '}' before end of string");
    std::string field = format.substr(i + 1, close - i - 1);
    if (field.find('{') != field.npos) Fail("nested replacement fields are not supported");
    const size_t colon = std::min(field.find(':'), field.size());
    const std::string spec = colon < field.size() ? field.substr(colon + 1) : "";
    field.resize(colon);
    char conversion = 0;
    if (field.size() >= 2 && field[field.size() - 2] == '!') {
      conversion = field.back();
      field.resize(field.size() - 2);
    }
    Value value = Field(rt, field, args, &next);
    if (conversion == 'r' || conversion == 's') {
      value = rt.Str(conversion == 'r' ? Repr(rt, value) : ToText(rt, value));
    } else if (conversion != 0) {
      Fail("unknown conversion specifier in format string");
    }
    out += FormatValue(rt, value, spec);
    rt.Step();
    rt.Reserve(out.size());
    i = close;
  }
  return out;
}

}  // namespace inkstone::jinja

// Methods of str.
#include <algorithm>
#include <limits>

#include "jinja/runtime.h"
#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

const std::string& Self(const Args& args) { return args.positional[0].text(); }
bool Markup(const Args& args) { return args.positional[0].string().markup; }

// Methods that map the text to a text.
template <std::string (*kMap)(std::string_view)>
Value Mapped(Runtime& rt, const Args& args) {
  const Params p("str method", args, {""}, 1);
  rt.Work(Self(args).size() * 16);
  return rt.Str(kMap(Self(args)), Markup(args));
}

template <Side kSide>
Value Strip(Runtime& rt, const Args& args) {
  const Params p("strip", args, {"", ""}, 1);
  const std::string& s = Self(args);
  if (!p.given(1)) {
    const std::string_view stripped = StripSpace(s, kSide);
    rt.Work((s.size() - stripped.size()) * 4);
    return rt.Str(std::string(stripped), Markup(args));
  }
  const std::string& chars = p.text(1, "arg");
  rt.Work(chars.size() * 32);
  const std::string_view stripped = StripChars(s, chars, kSide);
  rt.Work((s.size() - stripped.size()) * 16);
  return rt.Str(std::string(stripped), Markup(args));
}

Value ListOf(Runtime& rt, const std::vector<std::string_view>& parts, bool markup) {
  std::vector<Value> items;
  rt.Reserve(parts.size() * (sizeof(Value) + sizeof(String)));
  rt.Work(parts.size() * 256);
  items.reserve(parts.size());
  for (std::string_view part : parts) items.push_back(rt.Str(std::string(part), markup));
  return rt.List(std::move(items));
}

template <bool kFromRight>
Value Split(Runtime& rt, const Args& args) {
  const Params p("split", args, {"", "sep", "maxsplit"}, 1);
  const int64_t max_split = p.integer(2, -1);
  const std::string& s = Self(args);
  rt.Work(s.size() * 4);
  rt.Reserve(s.size());
  if (!p.given(1)) return ListOf(rt, SplitSpace(s, max_split, kFromRight), Markup(args));
  const std::string& separator = p.text(1, "separator");
  if (separator.empty()) Fail("empty separator");
  const int64_t parts = CountText(s, separator);
  rt.Reserve(static_cast<size_t>(max_split < 0 ? parts : std::min(parts, max_split)) *
             (sizeof(Value) + sizeof(String)));
  if (kFromRight) rt.Reserve(separator.size() * sizeof(uint32_t));
  return ListOf(rt, SplitAt(s, separator, max_split, kFromRight), Markup(args));
}

Value SplitLinesMethod(Runtime& rt, const Args& args) {
  const Params p("splitlines", args, {"", "keepends"}, 1);
  rt.Work(Self(args).size() * 4);
  return ListOf(rt, SplitLines(Self(args), p.flag(1, false)), Markup(args));
}

template <bool kFromRight>
Value Partition(Runtime& rt, const Args& args) {
  const Params p("partition", args, {"", ""}, 2);
  const std::string& s = Self(args);
  const std::string& separator = p.text(1, "separator");
  if (separator.empty()) Fail("empty separator");
  rt.Work(s.size());
  if (kFromRight) rt.Reserve(separator.size() * sizeof(uint32_t));
  const size_t at = kFromRight ? FindLastText(s, separator) : FindText(s, separator);
  if (at == s.npos) {
    return kFromRight ? rt.Tuple({rt.Str(""), rt.Str(""), rt.Str(s)}) : rt.Tuple({rt.Str(s), rt.Str(""), rt.Str("")});
  }
  return rt.Tuple({rt.Str(s.substr(0, at)), rt.Str(separator), rt.Str(s.substr(at + separator.size()))});
}

// Bytes of s[start:end] for the optional arguments at `first` and `first + 1`; nothing when start is past the end.
struct Window {
  size_t begin = 0;
  size_t end = 0;
  bool valid = true;
};
Window WindowOf(Runtime& rt, const Params& p, const String& s, size_t first) {
  const auto index = [&](size_t i, int64_t otherwise) {
    if (!p.given(i)) return otherwise;
    const int64_t at = p.integer(i, otherwise);
    return at < 0 ? std::max<int64_t>(0, at + s.length) : at;
  };
  const int64_t start = index(first, 0);
  const int64_t end = std::min(index(first + 1, s.length), s.length);
  rt.Work(s.text.size() * 4);
  if (start > end) return {0, 0, false};
  return {ByteOffset(s.text, s.length, start), ByteOffset(s.text, s.length, end), true};
}

template <bool kSuffix>
Value HasAffix(Runtime& rt, const Args& args) {
  const Params p(kSuffix ? "endswith" : "startswith", args, {"", "", "", ""}, 2);
  const Window window = WindowOf(rt, p, args.positional[0].string(), 2);
  const std::string_view s = std::string_view(Self(args)).substr(window.begin, window.end - window.begin);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_string()) {
      Fail("first arg must be str or a tuple of str, not " + std::string(TypeName(affix)));
    }
    rt.Step();
    return window.valid && (kSuffix ? s.ends_with(affix.text()) : s.starts_with(affix.text()));
  };
  if (!p[1].is_tuple()) return Value::Bool(matches(p[1]));
  const auto& all = p[1].items();
  return Value::Bool(std::any_of(all.begin(), all.end(), matches));
}

// The index of a substring in code points, or -1.
Int FindIn(Runtime& rt, const Args& args, const char* name, bool from_right) {
  const Params p(name, args, {"", "", "", ""}, 2);
  const std::string& needle = p.text(1, "argument");
  const Window window = WindowOf(rt, p, args.positional[0].string(), 2);
  if (!window.valid) return -1;
  const std::string_view s = std::string_view(Self(args)).substr(window.begin, window.end - window.begin);
  rt.Work(needle.size() * 8);
  if (from_right) rt.Reserve(needle.size() * sizeof(uint32_t));
  const size_t at = from_right ? FindLastText(s, needle) : FindText(s, needle);
  return at == s.npos ? -1 : CodePoints(std::string_view(Self(args)).substr(0, window.begin + at));
}

template <bool kFromRight>
Value Find(Runtime& rt, const Args& args) {
  return Value::Integer(FindIn(rt, args, "find", kFromRight));
}

template <bool kFromRight>
Value Index(Runtime& rt, const Args& args) {
  const Int at = FindIn(rt, args, "index", kFromRight);
  if (at < 0) Fail("substring not found");
  return Value::Integer(at);
}

Value Count(Runtime& rt, const Args& args) {
  const Params p("count", args, {"", "", "", ""}, 2);
  const std::string& needle = p.text(1, "argument");
  const Window window = WindowOf(rt, p, args.positional[0].string(), 2);
  if (!window.valid) return Value::Integer(0);
  const std::string_view s = std::string_view(Self(args)).substr(window.begin, window.end - window.begin);
  if (needle.empty()) return Value::Integer(CodePoints(s) + 1);
  rt.Work(needle.size() * 8);
  const int64_t found = CountText(s, needle);
  rt.Work(static_cast<size_t>(found) * 16);
  return Value::Integer(found);
}

Value Replace(Runtime& rt, const Args& args) {
  const Params p("replace", args, {"", "", "", ""}, 3);
  const std::string& s = Self(args);
  const std::string& from = p.text(1, "argument");
  const std::string& raw = p.text(2, "argument");
  const std::string to = Markup(args) && !p[2].string().markup ? Escape(rt, raw) : raw;
  int64_t left = p.integer(3, -1);
  if (left < 0) left = kNoLimit;
  rt.Work(s.size() + from.size() * 8);
  std::string out;
  size_t pos = 0;
  if (from.empty()) {  // between all code points, and at both ends
    while (left-- > 0) {
      rt.Step();
      out += to;
      if (pos >= s.size()) break;
      const size_t n = CodePointBytes(s, pos);
      out.append(s, pos, n);
      pos += n;
      rt.Reserve(out.size());
    }
  } else {
    for (size_t at; left > 0 && (at = FindText(s, from, pos)) != s.npos; --left) {
      rt.Step();
      out.append(s, pos, at - pos);
      out += to;
      pos = at + from.size();
      rt.Reserve(out.size());
    }
  }
  if (pos < s.size()) out.append(s, pos, s.npos);
  return rt.Str(std::move(out), Markup(args));
}

Value Join(Runtime& rt, const Args& args) {
  const Params p("join", args, {"", ""}, 2);
  const auto it = Iterate(rt, p[1]);
  std::string out;
  bool first = true;
  for (Value item; it->Next(rt, &item); first = false) {
    if (!first) out += Self(args);
    if (!item.is_string()) Fail("sequence item: expected str instance, " + std::string(TypeName(item)) + " found");
    out += Markup(args) && !item.string().markup ? Escape(rt, item.text()) : item.text();
    rt.Reserve(out.size());
  }
  return rt.Str(std::move(out), Markup(args));
}

template <bool kSuffix>
Value RemoveAffix(Runtime& rt, const Args& args) {
  const Params p("removeprefix", args, {"", ""}, 2);
  std::string_view s = Self(args);
  const std::string& affix = p.text(1, "argument");
  if (kSuffix && s.ends_with(affix)) s.remove_suffix(affix.size());
  if (!kSuffix && s.starts_with(affix)) s.remove_prefix(affix.size());
  return rt.Str(std::string(s), Markup(args));
}

enum class Align { kLeft, kRight, kCenter };
template <Align kAlign>
Value Pad(Runtime& rt, const Args& args) {
  const Params p("ljust", args, {"", "", ""}, 2);
  const std::string fill = p.has(2) ? p.text(2, "fill character") : " ";
  if (CodePoints(fill) != 1) Fail("the fill character must be exactly one character long");
  const String& s = args.positional[0].string();
  const int64_t missing = std::max<int64_t>(0, p.integer(1, 0) - s.length);
  rt.Reserve(static_cast<size_t>(missing));
  rt.Reserve(static_cast<size_t>(missing) * fill.size());
  int64_t left = kAlign == Align::kLeft ? 0 : missing;
  if (kAlign == Align::kCenter) left = missing / 2 + (missing & p.integer(1, 0) & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += s.text;
  for (int64_t i = left; i < missing; ++i) out += fill;
  return rt.Str(std::move(out), s.markup);
}

Value ZFill(Runtime& rt, const Args& args) {
  const Params p("zfill", args, {"", ""}, 2);
  const String& s = args.positional[0].string();
  const int64_t missing = std::max<int64_t>(0, p.integer(1, 0) - s.length);
  rt.Reserve(static_cast<size_t>(missing));
  const size_t sign = s.text.starts_with('-') || s.text.starts_with('+') ? 1 : 0;
  return rt.Str(s.text.substr(0, sign) + std::string(static_cast<size_t>(missing), '0') + s.text.substr(sign),
                s.markup);
}

Value ExpandTabs(Runtime& rt, const Args& args) {
  const Params p("expandtabs", args, {"", "tabsize"}, 1);
  const int64_t size = p.integer(1, 8);
  std::string out;
  int64_t column = 0;
  const std::string& s = Self(args);
  rt.Work(s.size() * 4);
  for (size_t i = 0, n; i < s.size(); i += n) {
    n = CodePointBytes(s, i);
    if (s[i] == '\t') {
      const int64_t blanks = size > 0 ? size - column % size : 0;
      rt.Reserve(out.size() + static_cast<size_t>(blanks));
      out.append(static_cast<size_t>(blanks), ' ');
      column += blanks;
    } else {
      out.append(s, i, n);
      column = s[i] == '\n' || s[i] == '\r' ? 0 : column + 1;
    }
  }
  return rt.Str(std::move(out), Markup(args));
}

// All code points pass, and there is one.
template <bool (*kPasses)(int32_t)>
Value AllOf(Runtime& rt, const Args& args) {
  const Params p("str method", args, {""}, 1);
  const std::string& s = Self(args);
  rt.Work(s.size() * 16);
  for (size_t i = 0; i < s.size(); i += CodePointBytes(s, i)) {
    if (!kPasses(CodePointAt(s, i))) return Value::Bool(false);
  }
  return Value::Bool(!s.empty());
}

bool IsAlphanumeric(int32_t c) { return IsAlpha(c) || IsNumeric(c); }
Value IsAscii(Runtime& rt, const Args& args) {
  const Params p("isascii", args, {""}, 1);
  rt.Work(Self(args).size());
  return Value::Bool(std::all_of(Self(args).begin(), Self(args).end(), [](char c) { return (c & 0x80) == 0; }));
}
Value IsIdentifier(Runtime& rt, const Args& args) {
  const Params p("isidentifier", args, {""}, 1);
  const std::string& s = Self(args);
  rt.Work(s.size() * 16);
  bool valid = !s.empty();
  for (size_t i = 0; i < s.size(); i += CodePointBytes(s, i)) {
    const int32_t c = CodePointAt(s, i);
    valid = valid && (c == '_' || IsAlpha(c) || (i > 0 && IsDecimal(c)));
  }
  return Value::Bool(valid);
}

template <bool kUpper>
Value HasCase(Runtime& rt, const Args& args) {
  const Params p("isupper", args, {""}, 1);
  return FindTest(kUpper ? "upper" : "lower")(rt, args);
}

Value IsTitleMethod(Runtime& rt, const Args& args) {
  const Params p("istitle", args, {""}, 1);
  const std::string& s = Self(args);
  rt.Work(s.size() * 4);
  bool in_word = false;
  bool found = false;
  for (size_t i = 0; i < s.size(); i += CodePointBytes(s, i)) {
    const int32_t c = CodePointAt(s, i);
    const bool upper = IsUpper(c) || IsTitle(c);
    const bool lower = IsLower(c);
    if ((upper && in_word) || (lower && !in_word)) return Value::Bool(false);
    found |= upper || lower;
    in_word = upper || lower;
  }
  return Value::Bool(found);
}

Value Format(Runtime& rt, const Args& args) {
  Args rest;
  rest.positional.assign(args.positional.begin() + 1, args.positional.end());
  rest.named = args.named;
  return rt.Str(FormatBraces(rt, Self(args), rest), Markup(args));
}

Value FormatMap(Runtime& rt, const Args& args) {
  const Params p("format_map", args, {"", ""}, 2);
  if (!p[1].is_dict()) Fail("format_map(): expected a mapping");
  Args rest;
  for (const auto& [key, value] : p[1].dict().items) {
    if (key.is_string()) rest.named.emplace_back(key.text(), value);
  }
  return rt.Str(FormatBraces(rt, Self(args), rest), Markup(args));
}

}  // namespace

Function FindStringMethod(std::string_view name) {
  static constexpr std::pair<std::string_view, Function> kMethods[] = {
      {"capitalize", Mapped<Capitalize>},
      {"casefold", Mapped<CaseFold>},
      {"center", Pad<Align::kCenter>},
      {"count", Count},
      {"endswith", HasAffix<true>},
      {"expandtabs", ExpandTabs},
      {"find", Find<false>},
      {"format", Format},
      {"format_map", FormatMap},
      {"index", Index<false>},
      {"isalnum", AllOf<IsAlphanumeric>},
      {"isalpha", AllOf<IsAlpha>},
      {"isascii", IsAscii},
      {"isdecimal", AllOf<IsDecimal>},
      {"isdigit", AllOf<IsDigit>},
      {"isidentifier", IsIdentifier},
      {"islower", HasCase<false>},
      {"isnumeric", AllOf<IsNumeric>},
      {"isspace", AllOf<IsSpace>},
      {"istitle", IsTitleMethod},
      {"isupper", HasCase<true>},
      {"join", Join},
      {"ljust", Pad<Align::kLeft>},
      {"lower", Mapped<Lower>},
      {"lstrip", Strip<Side::kLeft>},
      {"partition", Partition<false>},
      {"removeprefix", RemoveAffix<false>},
      {"removesuffix", RemoveAffix<true>},
      {"replace", Replace},
      {"rfind", Find<true>},
      {"rindex", Index<true>},
      {"rjust", Pad<Align::kRight>},
      {"rpartition", Partition<true>},
      {"rsplit", Split<true>},
      {"rstrip", Strip<Side::kRight>},
      {"split", Split<false>},
      {"splitlines", SplitLinesMethod},
      {"startswith", HasAffix<false>},
      {"strip", Strip<Side::kBoth>},
      {"swapcase", Mapped<SwapCase>},
      {"title", Mapped<TitleCase>},
      {"upper", Mapped<Upper>},
      {"zfill", ZFill},
  };
  for (const auto& [key, function] : kMethods) {
    if (key == name) return function;
  }
  return nullptr;
}

}  // namespace inkstone::jinja

#include "server/json_text.h"

#include <algorithm>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <charconv>

#include "chat/chat_template.h"
#include "server/request_limits.h"

namespace inkstone {
namespace {

using boost::json::error;
using boost::json::error_code;
using boost::json::string_view;

// Counts what the parser finds and keeps nothing.
struct Counter {
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);

  bool Add(error_code& code) {
    if (++values <= max_values) return true;
    code = error::array_too_large;
    return false;
  }
  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code& code) { return Add(code); }
  bool on_object_end(size_t, error_code&) { return true; }
  bool on_array_begin(error_code& code) { return Add(code); }
  bool on_array_end(size_t, error_code&) { return true; }
  bool on_key_part(string_view, size_t, error_code&) { return true; }
  bool on_key(string_view, size_t, error_code&) { return true; }
  bool on_string_part(string_view, size_t, error_code&) { return true; }
  bool on_string(string_view, size_t, error_code& code) { return Add(code); }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(int64_t, string_view, error_code& code) { return Add(code); }
  bool on_uint64(uint64_t, string_view, error_code& code) { return Add(code); }
  bool on_double(double, string_view, error_code& code) { return Add(code); }
  bool on_bool(bool, error_code& code) { return Add(code); }
  bool on_null(error_code& code) { return Add(code); }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }

  size_t max_values = 0;
  size_t values = 0;
};

// Columns count characters, as editors do.
std::string Place(std::string_view text, size_t at) {
  const std::string_view before = text.substr(0, at);
  const size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const auto columns = std::count_if(before.begin() + static_cast<std::ptrdiff_t>(line_begin), before.end(),
                                     [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  return " at line " + std::to_string(lines + 1) + ", column " + std::to_string(columns + 1);
}

std::string Reason(const error_code& code) {
  if (code == error::too_deep) return "more than " + std::to_string(kMaxJsonDepth) + " levels";
  if (code == error::syntax) return "unexpected character (or one that is not UTF-8)";
  if (code == error::incomplete) return "the text ends too early";
  if (code == error::extra_data) return "more text after the value";
  return code.message();
}

// The number behind "\u"; -1 where there are no four hexadecimal digits.
int CodeUnit(std::string_view escape) {
  if (escape.size() < 6 || escape[0] != '\\' || escape[1] != 'u') return -1;
  int unit = 0;
  const auto parsed = std::from_chars(escape.data() + 2, escape.data() + 6, unit, 16);
  return parsed.ec == std::errc() && parsed.ptr == escape.data() + 6 && escape[2] != '-' ? unit : -1;
}

}  // namespace

JsonScan ScanJson(std::string_view text, size_t max_values) {
  boost::json::parse_options options;
  options.max_depth = kMaxJsonDepth;
  boost::json::basic_parser<Counter> parser(options);
  parser.handler().max_values = max_values;
  error_code code;
  size_t used = parser.write_some(false, text.data(), text.size(), code);
  if (!code && used < text.size()) code = error::extra_data;
  JsonScan scan;
  scan.values = parser.handler().values;
  if (!code) return scan;
  scan.too_many = code == error::array_too_large;
  scan.surrogates = !scan.too_many && text.find("\\u") != std::string_view::npos;
  scan.error = scan.too_many ? "at most " + std::to_string(max_values) + " values (lists, objects, strings, numbers)"
                             : Reason(code) + Place(text, std::min(used, text.size()));
  return scan;
}

std::string RepairSurrogates(std::string_view text) {
  std::string out(text);
  for (size_t at = out.find('\\'); at != std::string::npos && at + 1 < out.size(); at = out.find('\\', at)) {
    const int unit = CodeUnit(std::string_view(out).substr(at));
    if (unit < 0) {
      at += 2;
      continue;
    }
    const bool high = unit >= 0xD800 && unit < 0xDC00;
    const int next = high ? CodeUnit(std::string_view(out).substr(at + 6)) : -1;
    if (next >= 0xDC00 && next < 0xE000) {
      at += 12;
      continue;
    }
    if (high || (unit >= 0xDC00 && unit < 0xE000)) out.replace(at + 2, 4, "fffd");
    at += 6;
  }
  return out;
}

}  // namespace inkstone

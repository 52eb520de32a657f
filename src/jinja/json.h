// JSON to template values, and the tojson filter.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/runtime.h"

namespace inkstone::jinja {

// Values of the caller: not counted against the limits of a rendering. Fails when nested too deeply. Keys and strings
// go through `mark` where there is one.
Value FromJson(const boost::json::value& json, const TextMark& mark = {});
Value InputText(std::string_view text);
Value InputList(std::vector<Value> items);
// Keys are distinct.
Value InputDict(std::vector<std::pair<std::string_view, Value>> items);

struct JsonStyle {
  bool ensure_ascii = false;
  bool multi_line = false;
  std::string indent;  // of one level, when multi_line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
// Python's json.dumps. Fails on values that have no JSON form.
std::string ToJson(Runtime& rt, const Value& v, const JsonStyle& style);

}  // namespace inkstone::jinja

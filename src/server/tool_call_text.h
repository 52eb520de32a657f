// What stands between the tags of a tool call, in the forms that models write.
#pragma once

#include <boost/json/fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace inkstone {

struct ParsedToolCall {
  std::string name;
  std::string arguments;  // JSON text of an object: the model's own where that is valid
};

// Which parameters of a request's tools are not strings.
class ToolTypes {
 public:
  ToolTypes() = default;
  explicit ToolTypes(const boost::json::value& tools);
  // Also of what the tools do not name.
  bool IsText(std::string_view function, std::string_view parameter) const;

 private:
  std::set<std::pair<std::string, std::string>> others_;  // function and parameter
};

// {"name": ..., "arguments": {...}} as Hermes and Qwen models write it, or Qwen3-Coder's
// <function=NAME><parameter=KEY>VALUE</parameter></function>, whose values have the types that `types` says. Nothing
// when it is neither. Raw line breaks in strings are taken as escaped ones; where `complete` (the model has closed the
// call), brackets that it forgot at the end are added.
std::optional<ParsedToolCall> ParseToolCallText(std::string_view body, bool complete, const ToolTypes& types);

}  // namespace inkstone

#include "server/tool_call_text.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "server/json_fields.h"
#include "server/json_writer.h"

namespace inkstone {
namespace {

using boost::json::value;

constexpr std::string_view kSpaces = " \t\r\n";
constexpr std::string_view kFunction = "<function=";
constexpr std::string_view kParameter = "<parameter=";
constexpr std::string_view kFunctionEnd = "</function>";
constexpr std::string_view kParameterEnd = "</parameter>";

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
}

// Walks over JSON text byte by byte: whether in a string, and inside which brackets.
class JsonCursor {
 public:
  void Take(char c) {
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
      return;
    }
    if (c == '"') in_string_ = true;
    if (c == '{') closers_.push_back('}');
    if (c == '[') closers_.push_back(']');
    if ((c == '}' || c == ']') && !closers_.empty()) closers_.pop_back();
  }
  bool in_string() const { return in_string_; }
  const std::string& closers() const { return closers_; }  // of the brackets that are open, outermost first

 private:
  bool in_string_ = false;
  bool escaped_ = false;
  std::string closers_;
};

// The text with what models get wrong made right: control characters in strings escaped, brackets added that are
// missing at the end (where `complete`), and braces cut off that are too many there.
std::string Repaired(std::string_view text, bool complete) {
  std::string out;
  JsonCursor cursor;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (cursor.in_string() && static_cast<unsigned char>(c) < 0x20) {
      const std::string quoted = JsonWriter().Value(std::string_view(&c, 1)).Take();
      out.append(quoted, 1, quoted.size() - 2);
      continue;
    }
    cursor.Take(c);
    out.push_back(c);
    const bool whole = !cursor.in_string() && cursor.closers().empty() && (c == '}' || c == ']');
    if (whole && text.find_first_not_of("} \t\r\n", i + 1) == std::string_view::npos) return out;
  }
  if (complete && !cursor.in_string()) out.append(cursor.closers().rbegin(), cursor.closers().rend());
  return out;
}

struct LooseJson {
  std::string text;  // valid JSON
  value parsed;
};

std::optional<LooseJson> ParseLoose(std::string_view text, bool complete) {
  text = Trim(text);
  if (auto parsed = ParseJson(text)) return LooseJson{std::string(text), std::move(*parsed)};
  std::string repaired = Repaired(text, complete);
  auto parsed = ParseJson(repaired);
  if (!parsed) return std::nullopt;
  return LooseJson{std::move(repaired), std::move(*parsed)};
}

// The text of the value of `key` in the text of an object, which is valid JSON. Of several the last counts.
std::string_view MemberText(std::string_view object, std::string_view key) {
  JsonCursor cursor;
  std::string_view found;
  size_t begin = 1;  // of the member
  size_t colon = 0;  // of the member; 0: not yet
  for (size_t i = 0; i < object.size(); ++i) {
    const char c = object[i];
    const bool top = cursor.closers().size() == 1 && !cursor.in_string();
    if (top && c == ':' && colon == 0) colon = i;
    if (top && (c == ',' || c == '}')) {
      const auto name = colon == 0 ? std::nullopt : ParseJson(Trim(object.substr(begin, colon - begin)));
      if (name && name->is_string() && View(name->get_string()) == key) found = object.substr(colon + 1, i - colon - 1);
      begin = i + 1;
      colon = 0;
    }
    cursor.Take(c);
  }
  return Trim(found);
}

std::optional<ParsedToolCall> ParseObjectCall(std::string_view body, bool complete) {
  const auto json = ParseLoose(body, complete);
  if (!json || !json->parsed.is_object()) return std::nullopt;
  const auto& object = json->parsed.get_object();
  const value* name = object.if_contains("name");
  if (name == nullptr || !name->is_string() || name->get_string().empty()) return std::nullopt;
  ParsedToolCall call{std::string(View(name->get_string())), "{}"};
  const char* key = object.contains("arguments") ? "arguments" : "parameters";
  const value* arguments = object.if_contains(key);
  if (arguments == nullptr || arguments->is_null()) return call;
  if (arguments->is_object()) {
    call.arguments = MemberText(json->text, key);
    return call;
  }
  if (!arguments->is_string()) return std::nullopt;
  auto inner = ParseLoose(View(arguments->get_string()), false);  // some models write the object as a string
  if (!inner || !inner->parsed.is_object()) return std::nullopt;
  call.arguments = std::move(inner->text);
  return call;
}

const value* Member(const value* from, std::string_view key) {
  return from != nullptr && from->is_object() ? from->get_object().if_contains({key.data(), key.size()}) : nullptr;
}

bool AllowsText(const value& schema) {
  const value* type = Member(&schema, "type");
  if (type == nullptr) return Member(&schema, "anyOf") == nullptr;
  if (type->is_string()) return type->get_string() == "string";
  if (!type->is_array()) return true;
  const auto& types = type->get_array();
  return std::any_of(types.begin(), types.end(), [](const value& t) { return t.is_string() && t == "string"; });
}

// A parameter's text as JSON: a string, or another value where it is to be one and can be read so.
std::string ParameterJson(std::string_view text, bool is_text) {
  if (!is_text) {
    const std::string_view bare = Trim(text);
    if (bare == "True") return "true";
    if (bare == "False") return "false";
    if (bare == "None") return "null";
    if (auto json = ParseLoose(bare, false)) return std::move(json->text);
  }
  return JsonWriter().Value(text).Take();
}

// One line break after the opening and one before the closing tag are layout.
std::string_view WithoutLayout(std::string_view text) {
  if (text.starts_with('\n')) text.remove_prefix(1);
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

std::optional<ParsedToolCall> ParseMarkupCall(std::string_view body, bool complete, const ToolTypes& types) {
  body.remove_prefix(kFunction.size());
  const size_t name_end = body.find('>');
  if (name_end == std::string_view::npos) return std::nullopt;
  ParsedToolCall call{std::string(Trim(body.substr(0, name_end))), ""};
  if (call.name.empty()) return std::nullopt;
  body = Trim(body.substr(name_end + 1));
  const bool closed = body.ends_with(kFunctionEnd);
  if (!closed && !complete) return std::nullopt;
  if (closed) body.remove_suffix(kFunctionEnd.size());
  JsonWriter arguments;
  arguments.BeginObject();
  for (body = Trim(body); !body.empty(); body = Trim(body)) {
    const size_t key_end = body.find('>');
    if (!body.starts_with(kParameter) || key_end == std::string_view::npos) return std::nullopt;
    const std::string_view key = Trim(body.substr(kParameter.size(), key_end - kParameter.size()));
    body.remove_prefix(key_end + 1);
    const size_t end = body.find(kParameterEnd);
    if (end == std::string_view::npos) return std::nullopt;
    arguments.Key(key).Raw(ParameterJson(WithoutLayout(body.substr(0, end)), types.IsText(call.name, key)));
    body.remove_prefix(end + kParameterEnd.size());
  }
  call.arguments = arguments.EndObject().Take();
  return call;
}

}  // namespace

ToolTypes::ToolTypes(const value& tools) {
  if (!tools.is_array()) return;
  for (const value& tool : tools.get_array()) {
    const value* function = Member(&tool, "function");
    const value* name = Member(function, "name");
    const value* properties = Member(Member(function, "parameters"), "properties");
    if (name == nullptr || !name->is_string() || properties == nullptr || !properties->is_object()) continue;
    for (const auto& item : properties->get_object()) {
      if (!AllowsText(item.value())) others_.emplace(View(name->get_string()), item.key());
    }
  }
}

bool ToolTypes::IsText(std::string_view function, std::string_view parameter) const {
  return others_.count({std::string(function), std::string(parameter)}) == 0;
}

std::optional<ParsedToolCall> ParseToolCallText(std::string_view body, bool complete, const ToolTypes& types) {
  body = Trim(body);
  if (body.starts_with(kFunction)) return ParseMarkupCall(body, complete, types);
  return ParseObjectCall(body, complete);
}

}  // namespace inkstone

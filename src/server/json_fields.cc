#include "server/json_fields.h"

#include <boost/json.hpp>
#include <cmath>
#include <limits>

#include "chat/chat_template.h"
#include "server/json_text.h"
#include "server/json_writer.h"

namespace inkstone {
namespace {

constexpr size_t kMaxShown = 40;

std::string NumberText(double value) { return JsonWriter().Value(value).Take(); }

boost::json::value ParseText(std::string_view text, boost::json::error_code& error) {
  boost::json::parse_options options;
  options.max_depth = kMaxJsonDepth;
  return boost::json::parse(boost::json::string_view(text.data(), text.size()), error, {}, options);
}

}  // namespace

std::string Describe(const boost::json::value& value) {
  switch (value.kind()) {
    case boost::json::kind::null:
      return "null";
    case boost::json::kind::bool_:
      return value.get_bool() ? "true" : "false";
    case boost::json::kind::int64:
    case boost::json::kind::uint64:
    case boost::json::kind::double_:
      return "the number " + ToJson(value);
    case boost::json::kind::string: {
      const auto text = View(value.get_string());
      return text.size() <= kMaxShown ? "the string " + ToJson(value)
                                      : "a string of " + std::to_string(text.size()) + " bytes";
    }
    case boost::json::kind::array:
      return "a list of " + std::to_string(value.get_array().size()) + " items";
    case boost::json::kind::object:
      return "an object";
  }
  return "nothing";
}

std::optional<int64_t> AsInteger(const boost::json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_double()) {
    const double number = value.get_double();
    if (std::abs(number) < 9e15 && std::trunc(number) == number) return static_cast<int64_t>(number);
  }
  return std::nullopt;
}

std::optional<double> AsNumber(const boost::json::value& value) {
  if (value.is_double()) return value.get_double();
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  return std::nullopt;
}

const boost::json::value* FieldReader::Find(std::string_view name) const {
  const auto* value = object_.if_contains(boost::json::string_view(name.data(), name.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::string FieldReader::Path(std::string_view name) const {
  return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
}

void FieldReader::Fail(std::string_view name, std::string_view expected, const boost::json::value* found) {
  FailWith(name, "'" + Path(name) + "': expected " + std::string(expected) + ", found " +
                     (found == nullptr ? "nothing" : Describe(*found)));
}

void FieldReader::FailWith(std::string_view name, std::string message, std::string code) {
  if (error_) return;
  error_ = ApiError{.message = std::move(message), .param = Path(name), .code = std::move(code)};
}

bool FieldReader::Number(std::string_view name, double low, double high, float* out) {
  const auto* value = Find(name);
  if (value == nullptr || !ok()) return false;
  const auto number = AsNumber(*value);
  if (!number || !(*number >= low && *number <= high)) {
    Fail(name, "a number from " + NumberText(low) + " to " + NumberText(high), value);
    return false;
  }
  *out = static_cast<float>(*number);
  return true;
}

bool FieldReader::Integer(std::string_view name, int64_t low, int64_t high, int64_t* out) {
  const auto* value = Find(name);
  if (value == nullptr || !ok()) return false;
  const auto number = AsInteger(*value);
  if (!number || *number < low || *number > high) {
    Fail(name, "an integer from " + std::to_string(low) + " to " + std::to_string(high), value);
    return false;
  }
  *out = *number;
  return true;
}

bool FieldReader::Bool(std::string_view name, bool* out) {
  const auto* value = Find(name);
  if (value == nullptr || !ok()) return false;
  if (!value->is_bool()) {
    Fail(name, "true or false", value);
    return false;
  }
  *out = value->get_bool();
  return true;
}

bool FieldReader::String(std::string_view name, std::string* out) {
  const auto* value = Find(name);
  if (value == nullptr || !ok()) return false;
  if (!value->is_string()) {
    Fail(name, "a string", value);
    return false;
  }
  out->assign(View(value->get_string()));
  return true;
}

bool FieldReader::RequiredString(std::string_view name, std::string* out) {
  if (ok() && Find(name) == nullptr) Fail(name, "a string", nullptr);
  return String(name, out);
}

std::optional<ApiError> ParseBody(std::string_view body, boost::json::object* out, size_t max_values) {
  JsonScan scan = ScanJson(body, max_values);
  std::string repaired;
  if (scan.surrogates) {
    repaired = RepairSurrogates(body);
    body = repaired;
    scan = ScanJson(body, max_values);
  }
  if (scan.too_many) {
    return ApiError{.message = "The request body: expected " + scan.error + ", found more", .code = "request_limit"};
  }
  if (!scan.ok()) {
    return ApiError{.message = "The request body is not valid JSON: " + scan.error, .code = "invalid_json"};
  }
  boost::json::error_code error;
  boost::json::value value = ParseText(body, error);
  if (error) {
    return ApiError{.message = "The request body is not valid JSON: " + error.message(), .code = "invalid_json"};
  }
  if (!value.is_object()) {
    return ApiError{.message = "The request body: expected a JSON object, found " + Describe(value),
                    .code = "invalid_json"};
  }
  *out = std::move(value.get_object());
  return std::nullopt;
}

std::optional<boost::json::value> ParseJson(std::string_view text) {
  if (!ScanJson(text, kMaxJsonValues).ok()) return std::nullopt;
  boost::json::error_code error;
  boost::json::value value = ParseText(text, error);
  if (error) return std::nullopt;
  return value;
}

size_t CountValues(const boost::json::value& value) {
  size_t count = 1;
  if (const auto* array = value.if_array()) {
    for (const auto& item : *array) count += CountValues(item);
  } else if (const auto* object = value.if_object()) {
    for (const auto& item : *object) count += CountValues(item.value());
  }
  return count;
}

}  // namespace inkstone

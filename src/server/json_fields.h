// Reads typed fields of a JSON object; the first mismatch becomes an ApiError that names field, expected and found.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/request_limits.h"

namespace inkstone {

// "a string", "the number 3", "null": for messages.
std::string Describe(const boost::json::value& value);

// Absent and null fields leave their target untouched. After a failure further reads do nothing.
class FieldReader {
 public:
  // `path` is put in front of the names: "messages[2]".
  explicit FieldReader(const boost::json::object& object, std::string path = "")
      : object_(object), path_(std::move(path)) {}

  // Also when it is JSON null.
  bool Has(std::string_view name) const { return object_.contains({name.data(), name.size()}); }
  // Null when absent or JSON null.
  const boost::json::value* Find(std::string_view name) const;
  // False when absent; fails on another type or outside [low, high].
  bool Number(std::string_view name, double low, double high, float* out);
  bool Integer(std::string_view name, int64_t low, int64_t high, int64_t* out);
  bool Bool(std::string_view name, bool* out);
  bool String(std::string_view name, std::string* out);
  // Fails unless present.
  bool RequiredString(std::string_view name, std::string* out);

  void Fail(std::string_view name, std::string_view expected, const boost::json::value* found);
  void FailWith(std::string_view name, std::string message, std::string code = "");
  void Adopt(const FieldReader& inner) {
    if (!error_) error_ = inner.error_;
  }
  std::string Path(std::string_view name) const;
  bool ok() const { return !error_; }
  const std::optional<ApiError>& error() const { return error_; }

 private:
  const boost::json::object& object_;
  std::string path_;
  std::optional<ApiError> error_;
};

// Integers, and doubles without a fraction ("1.0", "1e3").
std::optional<int64_t> AsInteger(const boost::json::value& value);
std::optional<double> AsNumber(const boost::json::value& value);
inline std::string_view View(const boost::json::string& s) { return {s.data(), s.size()}; }

// Parses a request body: an object, at most 64 levels deep, of at most `max_values` values, which are counted before
// anything is kept. Errors of syntax say line and column; half of a surrogate pair becomes U+FFFD.
std::optional<ApiError> ParseBody(std::string_view body, boost::json::object* out, size_t max_values = kMaxJsonValues);
// Parses any JSON text; nullopt when it's malformed or has more than kMaxJsonValues values.
std::optional<boost::json::value> ParseJson(std::string_view text);
// The value itself and all below it.
size_t CountValues(const boost::json::value& value);

}  // namespace inkstone

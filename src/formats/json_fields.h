// JSON from files that may be hostile: bounded parsing, and typed reads whose errors name file, field and both sides.
// For .cc files of this layer only: it brings in Boost.JSON.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "core/status.h"

namespace inkstone {

inline constexpr size_t kMaxJsonDepth = 32;
inline constexpr size_t kMaxJsonValues = size_t{1} << 22;  // numbers, strings, ... in one document

// kDataLoss for anything that is not one object in strict JSON (RFC 8259, UTF-8), and also for nesting deeper than
// kMaxJsonDepth, more than kMaxJsonValues values, and a name that occurs twice in one object.
Result<boost::json::object> ParseJsonObject(std::string_view text, const std::string& source);

// The value as short text for messages.
std::string DescribeJson(const boost::json::value* value);

// Typed reads from one object. null counts as missing, as in Hugging Face's configs.
class JsonFields {
 public:
  // `prefix` is put before names in messages: "rope_scaling.".
  JsonFields(const boost::json::object& object, std::string source, std::string prefix = "")
      : object_(&object), source_(std::move(source)), prefix_(std::move(prefix)) {}

  const boost::json::value* Find(std::string_view key) const;  // nullptr when missing or null
  bool Has(std::string_view key) const { return Find(key) != nullptr; }

  const std::string& source() const { return source_; }

  // A whole number may be written as 50.0. Errors: kDataLoss when missing, of another type or outside min..max
  // (numbers: outside or not finite).
  Result<int64_t> Int(std::string_view key, int64_t min, int64_t max) const;
  Result<double> Number(std::string_view key, double min, double max) const;
  Result<std::string> String(std::string_view key) const;
  Result<int64_t> IntOr(std::string_view key, int64_t fallback, int64_t min, int64_t max) const;
  Result<double> NumberOr(std::string_view key, double fallback, double min, double max) const;
  Result<bool> BoolOr(std::string_view key, bool fallback) const;
  Result<std::string> StringOr(std::string_view key, std::string fallback) const;
  // The object under `key`, nullptr when it is missing.
  Result<const boost::json::object*> ObjectOrNull(std::string_view key) const;

  // "config.json: num_hidden_layers: expected ..., found ...".
  Status Wrong(std::string_view key, const std::string& expected) const;

 private:
  const boost::json::object* object_;
  std::string source_;
  std::string prefix_;
};

}  // namespace inkstone

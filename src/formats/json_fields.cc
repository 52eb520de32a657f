#include "formats/json_fields.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <optional>
#include <sstream>
#include <vector>

#include "formats/tensor_layout.h"

namespace inkstone {
namespace {

namespace json = boost::json;

// Watches a parse go by: counts values and finds names that occur twice, which Boost.JSON's own values hide.
struct Watcher {
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);

  std::vector<std::vector<std::string>> names;  // of each open object
  std::string part;                             // of a name that comes in pieces
  std::string problem;
  size_t values = 0;

  bool Fail(std::string text, json::error_code& ec) {
    problem = std::move(text);
    ec = json::error::size_mismatch;  // any error: `problem` holds the words
    return false;
  }
  bool Count(json::error_code& ec) {
    return ++values <= kMaxJsonValues ||
           Fail("expected at most " + std::to_string(kMaxJsonValues) + " values, found more", ec);
  }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code& ec) {
    names.emplace_back();
    return Count(ec);
  }
  bool on_object_end(size_t, json::error_code& ec) {
    std::vector<std::string>& mine = names.back();
    std::sort(mine.begin(), mine.end());
    const auto twice = std::adjacent_find(mine.begin(), mine.end());
    if (twice != mine.end()) return Fail("expected unique names in an object, found " + Quote(*twice) + " twice", ec);
    names.pop_back();
    return true;
  }
  bool on_array_begin(json::error_code& ec) { return Count(ec); }
  bool on_array_end(size_t, json::error_code&) { return true; }
  bool on_key_part(json::string_view text, size_t, json::error_code&) {
    part.append(text.data(), text.size());
    return true;
  }
  bool on_key(json::string_view text, size_t, json::error_code& ec) {
    part.append(text.data(), text.size());
    names.back().push_back(std::move(part));
    part.clear();
    return Count(ec);
  }
  bool on_string_part(json::string_view, size_t, json::error_code&) { return true; }
  bool on_string(json::string_view, size_t, json::error_code& ec) { return Count(ec); }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t, json::string_view, json::error_code& ec) { return Count(ec); }
  bool on_uint64(uint64_t, json::string_view, json::error_code& ec) { return Count(ec); }
  bool on_double(double, json::string_view, json::error_code& ec) { return Count(ec); }
  bool on_bool(bool, json::error_code& ec) { return Count(ec); }
  bool on_null(json::error_code& ec) { return Count(ec); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }
};

std::string NumberText(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

}  // namespace

Result<json::object> ParseJsonObject(std::string_view text, const std::string& source) {
  json::parse_options options;
  options.max_depth = kMaxJsonDepth;
  json::basic_parser<Watcher> watch(options);
  json::error_code error;
  const size_t read = watch.write_some(false, text.data(), text.size(), error);
  if (error) {
    const std::string& problem = watch.handler().problem;
    return DataLoss(source + ": JSON at offset " + std::to_string(read) + ": " +
                    (problem.empty() ? error.message() : problem));
  }
  json::value value = json::parse(json::string_view(text.data(), text.size()), error, {}, options);
  if (error) return DataLoss(source + ": JSON: " + error.message());
  if (!value.is_object()) return DataLoss(source + ": expected a JSON object, found " + DescribeJson(&value));
  return std::move(value.get_object());
}

std::string DescribeJson(const json::value* value) {
  constexpr size_t kMaxShown = 40;
  if (value == nullptr) return "nothing";
  if (value->is_object()) return "an object";
  if (value->is_array()) return "an array of " + std::to_string(value->get_array().size());
  if (value->is_string()) {
    const json::string& text = value->get_string();
    return Quote(std::string_view(text.data(), text.size()));
  }
  const std::string text = json::serialize(*value);
  return text.substr(0, kMaxShown);
}

const json::value* JsonFields::Find(std::string_view key) const {
  const json::value* value = object_->if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

Status JsonFields::Wrong(std::string_view key, const std::string& expected) const {
  return DataLoss(source_ + ": " + prefix_ + std::string(key) + ": expected " + expected + ", found " +
                  DescribeJson(Find(key)));
}

Result<int64_t> JsonFields::Int(std::string_view key, int64_t min, int64_t max) const {
  const json::value* value = Find(key);
  // uint64 values above the range of int64 are outside every range asked for.
  constexpr double kExact = 9007199254740992.0;  // 2^53: whole numbers up to it are exact
  std::optional<int64_t> number;
  if (value != nullptr && value->is_int64()) number = value->get_int64();
  if (value != nullptr && value->is_double()) {
    const double d = value->get_double();
    if (std::abs(d) <= kExact && d == std::floor(d)) number = static_cast<int64_t>(d);
  }
  if (!number || *number < min || *number > max) {
    return Wrong(key, "an integer from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return *number;
}

Result<double> JsonFields::Number(std::string_view key, double min, double max) const {
  const json::value* value = Find(key);
  double number = std::nan("");
  if (value != nullptr && value->is_double()) number = value->get_double();
  if (value != nullptr && value->is_int64()) number = static_cast<double>(value->get_int64());
  if (value != nullptr && value->is_uint64()) number = static_cast<double>(value->get_uint64());
  if (!(number >= min && number <= max)) {
    return Wrong(key, "a number from " + NumberText(min) + " to " + NumberText(max));
  }
  return number;
}

Result<std::string> JsonFields::String(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr || !value->is_string()) return Wrong(key, "a string");
  return std::string(value->get_string().data(), value->get_string().size());
}

Result<int64_t> JsonFields::IntOr(std::string_view key, int64_t fallback, int64_t min, int64_t max) const {
  if (!Has(key)) return fallback;
  return Int(key, min, max);
}

Result<double> JsonFields::NumberOr(std::string_view key, double fallback, double min, double max) const {
  if (!Has(key)) return fallback;
  return Number(key, min, max);
}

Result<bool> JsonFields::BoolOr(std::string_view key, bool fallback) const {
  const json::value* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) return Wrong(key, "true or false");
  return value->get_bool();
}

Result<std::string> JsonFields::StringOr(std::string_view key, std::string fallback) const {
  if (!Has(key)) return fallback;
  return String(key);
}

Result<const json::object*> JsonFields::ObjectOrNull(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr) return static_cast<const json::object*>(nullptr);
  if (!value->is_object()) return Wrong(key, "an object");
  return &value->get_object();
}

}  // namespace inkstone

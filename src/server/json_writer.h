// Writes JSON text: valid UTF-8 whatever goes in, numbers in their shortest form.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace inkstone {

// Ill-formed sequences become U+FFFD, one per maximal ill-formed part (Unicode 15, section 3.9).
std::string ValidUtf8(std::string_view text);

class JsonWriter {
 public:
  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view key);

  JsonWriter& Value(std::string_view text);
  JsonWriter& Value(const char* text) { return Value(std::string_view(text)); }
  JsonWriter& Value(bool value) { return Raw(value ? "true" : "false"); }
  JsonWriter& Value(double value);  // null when not finite
  JsonWriter& Value(float value);   // shortest text that reads back as the same float
  template <typename T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) JsonWriter& Value(T value) {
    return Raw(std::to_string(value));
  }
  JsonWriter& Value(const boost::json::value& value);
  JsonWriter& Null() { return Raw("null"); }
  JsonWriter& Raw(std::string_view json);  // one complete value, already JSON

  template <typename T>
  JsonWriter& Field(std::string_view key, const T& value) {
    return Key(key).Value(value);
  }
  size_t size() const { return out_.size(); }  // bytes so far
  std::string Take() { return std::move(out_); }

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  void Separate();
  void Quote(std::string_view text);

  std::string out_;
  bool comma_ = false;  // a value precedes on this level
};

// Compact JSON text of a value.
std::string ToJson(const boost::json::value& value);

}  // namespace inkstone

#include "server/json_writer.h"

#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>

namespace inkstone {
namespace {

// Length of the well-formed sequence at the front (1 to 4), or minus the length of the maximal ill-formed part.
int Utf8Step(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  int length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;  // surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return -1;
  }
  for (int i = 1; i < length; ++i) {
    const auto at = static_cast<size_t>(i);
    if (at >= s.size() || byte(at) < low || byte(at) > high) return -i;
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

template <typename T>
std::string Shortest(T value) {
  std::array<char, 64> buffer;
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), result.ptr};
}

}  // namespace

std::string ValidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const int step = Utf8Step(text);
    const auto length = static_cast<size_t>(std::abs(step));
    if (step > 0) {
      out.append(text.substr(0, length));
    } else {
      out.append("\xEF\xBF\xBD");
    }
    text.remove_prefix(length);
  }
  return out;
}

void JsonWriter::Separate() {
  if (comma_) out_.push_back(',');
  comma_ = true;
}

JsonWriter& JsonWriter::Open(char bracket) {
  Separate();
  out_.push_back(bracket);
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::Close(char bracket) {
  out_.push_back(bracket);
  comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  Separate();
  Quote(key);
  out_.push_back(':');
  comma_ = false;
  return *this;
}

void JsonWriter::Quote(std::string_view text) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  out_.push_back('"');
  while (!text.empty()) {
    const char c = text.front();
    const int step = Utf8Step(text);
    const auto length = static_cast<size_t>(std::abs(step));
    if (step < 0) {
      out_.append("\xEF\xBF\xBD");
    } else if (c == '"' || c == '\\') {
      out_.push_back('\\');
      out_.push_back(c);
    } else if (c == '\n') {
      out_.append("\\n");
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out_.append("\\u00");
      out_.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
      out_.push_back(kHex[static_cast<unsigned char>(c) & 15]);
    } else {
      out_.append(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  out_.push_back('"');
}

JsonWriter& JsonWriter::Value(std::string_view text) {
  Separate();
  Quote(text);
  return *this;
}

JsonWriter& JsonWriter::Value(double value) { return std::isfinite(value) ? Raw(Shortest(value)) : Null(); }
JsonWriter& JsonWriter::Value(float value) { return std::isfinite(value) ? Raw(Shortest(value)) : Null(); }

JsonWriter& JsonWriter::Raw(std::string_view json) {
  Separate();
  out_.append(json);
  return *this;
}

JsonWriter& JsonWriter::Value(const boost::json::value& value) {
  switch (value.kind()) {
    case boost::json::kind::null:
      return Null();
    case boost::json::kind::bool_:
      return Value(value.get_bool());
    case boost::json::kind::int64:
      return Value(value.get_int64());
    case boost::json::kind::uint64:
      return Value(value.get_uint64());
    case boost::json::kind::double_:
      return Value(value.get_double());
    case boost::json::kind::string:
      return Value(std::string_view(value.get_string().data(), value.get_string().size()));
    case boost::json::kind::array:
      BeginArray();
      for (const auto& item : value.get_array()) Value(item);
      return EndArray();
    case boost::json::kind::object:
      BeginObject();
      for (const auto& item : value.get_object()) {
        Key(std::string_view(item.key().data(), item.key().size())).Value(item.value());
      }
      return EndObject();
  }
  return *this;
}

std::string ToJson(const boost::json::value& value) { return JsonWriter().Value(value).Take(); }

}  // namespace inkstone

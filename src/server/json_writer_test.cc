#include "server/json_writer.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <limits>

namespace inkstone {
namespace {

TEST(JsonWriter, WritesNumbersInTheirShortestForm) {
  EXPECT_EQ(JsonWriter().Value(0.7).Take(), "0.7");
  EXPECT_EQ(JsonWriter().Value(0.1f).Take(), "0.1");
  EXPECT_EQ(JsonWriter().Value(-1.5f).Take(), "-1.5");
  EXPECT_EQ(JsonWriter().Value(123456.0).Take(), "123456");
  EXPECT_EQ(JsonWriter().Value(std::numeric_limits<double>::infinity()).Take(), "null");
  EXPECT_EQ(JsonWriter().Value(int64_t{-9223372036854775807}).Take(), "-9223372036854775807");
  EXPECT_EQ(ToJson(boost::json::value(0.7)), "0.7");
}

TEST(JsonWriter, PutsCommasBetweenValuesOnly) {
  JsonWriter json;
  json.BeginObject().Field("a", 1).Key("b").BeginArray().Value("x").BeginObject().EndObject().Null().EndArray();
  json.Field("c", true).EndObject();
  EXPECT_EQ(json.Take(), R"({"a":1,"b":["x",{},null],"c":true})");
}

TEST(JsonWriter, EscapesAndRepairsText) {
  EXPECT_EQ(JsonWriter().Value("a\"\\\n\t\x01").Take(), R"("a\"\\\n\u0009\u0001")");
  EXPECT_EQ(JsonWriter().Value("h\xC3\xA9 \xF0\x9F\x98\x80").Take(), "\"h\xC3\xA9 \xF0\x9F\x98\x80\"");
  EXPECT_EQ(JsonWriter().Value("\xF0\x9F\x98!").Take(), "\"\xEF\xBF\xBD!\"");
  EXPECT_EQ(ValidUtf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
  EXPECT_EQ(ValidUtf8("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");                  // an overlong form
}

}  // namespace
}  // namespace inkstone

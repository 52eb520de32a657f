#include "jinja/text.h"

#include <gtest/gtest.h>

#include "jinja/runtime.h"

namespace inkstone::jinja {
namespace {

using Parts = std::vector<std::string_view>;

TEST(JinjaText, CodePoints) {
  EXPECT_EQ(CodePoints("aé你😀"), 4);
  EXPECT_EQ(CodePoints("\x80\xC3"), 2);
  EXPECT_EQ(CodePointAt("你", 0), 0x4F60);
  EXPECT_EQ(CodePointAt("\xFF", 0), 0xDCFF);
  EXPECT_EQ(ByteOffset("aé你😀", 4, 3), 6u);
  EXPECT_EQ(ByteOffset("aé", 2, 9), 3u);
}

TEST(JinjaText, Strip) {
  EXPECT_EQ(StripSpace("\u3000 a \x1f\n", Side::kBoth), "a");
  EXPECT_EQ(StripSpace(" a ", Side::kLeft), "a ");
  EXPECT_EQ(StripChars("éaéé", "é", Side::kRight), "éa");
  EXPECT_EQ(StripChars("\xFF\xFF", "\xFF", Side::kBoth), "");
}

TEST(JinjaText, Split) {
  EXPECT_EQ(SplitSpace("  a b  c ", 1, false), (Parts{"a", "b  c "}));
  EXPECT_EQ(SplitSpace("  a b  c ", 1, true), (Parts{"  a b", "c"}));
  EXPECT_EQ(SplitAt("a,b,c", ",", 1, true), (Parts{"a,b", "c"}));
  EXPECT_EQ(SplitAt("", ",", -1, false), (Parts{""}));
  EXPECT_EQ(SplitLines("a\r\nb\rc\n", false), (Parts{"a", "b", "c"}));
  EXPECT_EQ(SplitLines("a\n\u2028b", true), (Parts{"a\n", "\u2028", "b"}));
}

TEST(JinjaText, Case) {
  EXPECT_EQ(Upper("straße ŉ"), "STRASSE ʼN");
  EXPECT_EQ(Lower("ΑΣ ΣΑ"), "ας σα");
  EXPECT_EQ(TitleCase("it's ǆ"), "It'S ǅ");
  EXPECT_EQ(Capitalize("éCOLE"), "École");
}

TEST(JinjaText, Numbers) {
  EXPECT_EQ(FloatText(0.1), "0.1");
  EXPECT_EQ(FloatText(1e16), "1e+16");
  EXPECT_EQ(FloatText(123456789012345680.0), "1.2345678901234568e+17");
  EXPECT_EQ(FloatText(1e15), "1000000000000000.0");
  EXPECT_EQ(FloatText(0.0001), "0.0001");
  EXPECT_EQ(FloatText(1e-5), "1e-05");
  EXPECT_EQ(FloatText(-0.0), "-0.0");
  EXPECT_EQ(FloatText(5e-324), "5e-324");
  EXPECT_EQ(IntText(Int{INT64_MIN}), "-9223372036854775808");
  EXPECT_EQ(IntText(Int{INT64_MAX} * 4), "36893488147419103228");
}

}  // namespace
}  // namespace inkstone::jinja

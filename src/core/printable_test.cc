#include "core/printable.h"

#include <gtest/gtest.h>

namespace inkstone {
namespace {

TEST(PrintableTest, OrdinaryTextStaysAsItIs) {
  const std::string text = "Grüße, 世界! 🙂 a\\b \"c\" 👩‍💻 עברית";
  EXPECT_EQ(Printable(text), text);
  EXPECT_EQ(Printable(text, TextShape::kText), text);
  EXPECT_EQ(Printable(""), "");
}

TEST(PrintableTest, ControlCharactersAreEscaped) {
  EXPECT_EQ(Printable("a\nb\tc\rd"), "a\\nb\\tc\\x0dd");
  EXPECT_EQ(Printable("a\nb\tc\rd", TextShape::kText), "a\nb\tc\\x0dd");
  EXPECT_EQ(Printable("\x1b[2J\x07\x7f"), "\\x1b[2J\\x07\\x7f");
  EXPECT_EQ(Printable(std::string_view("\0x", 2)), "\\x00x");
}

TEST(PrintableTest, TheSecondControlSetIsEscaped) {
  EXPECT_EQ(Printable("\xc2\x9b"
                      "31m",
                      TextShape::kText),
            "\\u{9b}31m");
  EXPECT_EQ(Printable("\xc2\x80\xc2\x9f\xc2\xa0"), "\\u{80}\\u{9f}\xc2\xa0");
}

TEST(PrintableTest, DirectionsAndLineSeparatorsAreEscaped) {
  EXPECT_EQ(Printable("\u202e\u202a\u2066\u2069\u200e\u200f\u061c", TextShape::kText),
            "\\u{202e}\\u{202a}\\u{2066}\\u{2069}\\u{200e}\\u{200f}\\u{61c}");
  EXPECT_EQ(Printable("\u2028\u2029"), "\\u{2028}\\u{2029}");
}

TEST(PrintableTest, BytesThatAreNotUtf8AreEscapedOneByOne) {
  EXPECT_EQ(Printable("a\xff\x9b"), "a\\xff\\x9b");
  EXPECT_EQ(Printable("\xe4\xb8"), "\\xe4\\xb8");                    // cut short
  EXPECT_EQ(Printable("\xc0\x8a"), "\\xc0\\x8a");                    // a line break in an overlong form
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
}

}  // namespace
}  // namespace inkstone

#include "tokenizer/unicode.h"

#include <gtest/gtest.h>

#include "tokenizer/normalizer.h"

namespace inkstone {
namespace {

using unicode::ClassTable;

TEST(Utf8, ReplacesEachMaximalIllFormedPartOnce) {
  const std::string r = "\xEF\xBF\xBD";
  const auto check = [](std::string_view in, const std::string& out) {
    EXPECT_EQ(unicode::ReplaceIllFormed(in), out);
    EXPECT_EQ(unicode::IsValidUtf8(in), in == out);
  };
  check("plain ascii, long enough for words", "plain ascii, long enough for words");
  check("\xE6\xBC\xA2\xF0\x9F\x98\x80", "\xE6\xBC\xA2\xF0\x9F\x98\x80");
  check("a\x80z", "a" + r + "z");
  check("\xC0\xAF", r + r);                       // overlong
  check("\xE2\x82z", r + "z");                    // cut short
  check("\xF0\x9F\x98", r);                       // cut short at the end
  check("\xED\xA0\x80", r + r + r);               // a surrogate
  check("\xF4\x90\x80\x80", r + r + r + r);       // above U+10FFFF
  check("\xF1\x80\xC2\x41", r + r + "A");         // a new lead inside
  check("\xE2\xE2\x82\xAC", r + "\xE2\x82\xAC");  // a lead, then a whole sequence
}

TEST(Utf8, TailKeepsOnlyWhatCanBeCompleted) {
  std::string tail = "old";
  EXPECT_EQ(unicode::ReplaceIllFormed("ab\xF0\x9F", &tail), "ab");
  EXPECT_EQ(tail, "\xF0\x9F");
  EXPECT_EQ(unicode::ReplaceIllFormed("ab\xF5", &tail), "ab\xEF\xBF\xBD");
  EXPECT_EQ(tail, "");
}

TEST(Utf8, AppendAndDecodeAreInverse) {
  for (const char32_t c : {U'\0', U'a', U'\x7F', U'\x80', U'\x7FF', U'\x800', U'\xFFFF', U'\x10000', U'\x10FFFF'}) {
    std::string text;
    unicode::AppendUtf8(c, &text);
    EXPECT_EQ(unicode::DecodeValid(text.data()).code_point, c);
    EXPECT_EQ(unicode::DecodeValid(text.data()).size, text.size());
    EXPECT_EQ(unicode::LastSize("x" + text), text.size());
    EXPECT_TRUE(unicode::IsValidUtf8(text));
  }
}

TEST(Classes, FollowTheReference) {
  const ClassTable& classes = ClassTable::Get();
  EXPECT_TRUE(classes[U'é'] & unicode::kLetter);
  EXPECT_TRUE(classes[U'漢'] & unicode::kLetter);
  EXPECT_TRUE(classes[0x1C89] & unicode::kLetter);  // new in Unicode 16
  EXPECT_TRUE(classes[U'²'] & unicode::kNumber);
  EXPECT_TRUE(classes[0x85] & unicode::kSpace);
  EXPECT_FALSE(classes[0x180E] & unicode::kSpace);
  EXPECT_FALSE(classes[0x200B] & unicode::kSpace);
  EXPECT_FALSE(classes[0x301] & (unicode::kLetter | unicode::kNumber | unicode::kSpace));
  EXPECT_TRUE(classes[U'_'] & unicode::kWord);
  EXPECT_EQ(classes[0x10FFFF], 0);
}

std::string Nfc(std::string_view text) {
  std::string buffer;
  return std::string(NormalizeNfc(text, &buffer));
}

TEST(Nfc, LeavesNormalizedTextInPlace) {
  std::string buffer;
  const std::string_view text = "Stra\u00DFe \u00E9 \u6F22\u5B57 \uAC01 and enough ascii after it";
  EXPECT_EQ(NormalizeNfc(text, &buffer).data(), text.data());
}

TEST(Nfc, ComposesReordersAndExcludes) {
  EXPECT_EQ(Nfc("e\u0301"), "\u00E9");
  EXPECT_EQ(Nfc("ascii before e\u0301 ascii after"), "ascii before \u00E9 ascii after");
  EXPECT_EQ(Nfc("a\u0301\u0323"), "\u1EA1\u0301");  // ordered by class, then composed
  EXPECT_EQ(Nfc("\u1E69"), "\u1E69");               // two marks in one letter
  EXPECT_EQ(Nfc("\u1E61\u0323"), "\u1E69");         // taken apart, ordered, composed
  EXPECT_EQ(Nfc("\u0958"), "\u0915\u093C");         // excluded from composition
  EXPECT_EQ(Nfc("\u212B\u2126"), "\u00C5\u03A9");   // singletons
  EXPECT_EQ(Nfc("\u0344"), "\u0308\u0301");         // a mark that comes apart
  EXPECT_EQ(Nfc("\u1112\u1161\u11AB"), "\uD55C");   // Hangul
  EXPECT_EQ(Nfc("\uD558\u11AB"), "\uD55C");
  EXPECT_EQ(Nfc("e\u0327\u0301"), "\u0229\u0301");
  EXPECT_EQ(Nfc("\u0B47\u0300\u0B3E"), "\u0B47\u0300\u0B3E");  // a mark in between blocks
}

TEST(Nfc, LongRunsOfMarksInAnyOrderAreFast) {
  std::string text = "a";
  for (int i = 0; i < 300'000; ++i) text += i % 2 ? "\u0316" : "\u0301";
  const std::string out = Nfc(text);
  EXPECT_EQ(out.size(), text.size() - 1);  // "a" and the first acute became one two-byte letter
  EXPECT_EQ(out.substr(0, 4), "\u00E1\u0316");
}

}  // namespace
}  // namespace inkstone

#include "tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <stop_token>

namespace inkstone {
namespace {

using testing::ElementsAre;

std::vector<std::string> Pieces(const std::vector<PretokenizerStage>& stages, std::string_view text) {
  std::vector<std::string> pieces;
  SplitWork work(text.size(), {});
  Pretokenize(
      stages, text, [&](std::string_view piece) { pieces.emplace_back(piece); }, &work);
  return pieces;
}

std::vector<std::string> Pieces(StageKind kind, std::string_view text) { return Pieces({{kind, {}}}, text); }

std::vector<std::string> RegexPieces(std::string_view regex, std::string_view text) {
  auto stage = GenericStageFromRegex(regex);
  if (!stage.ok()) return {stage.status().message()};
  return Pieces({*stage}, text);
}

TEST(Pretokenizer, Qwen2) {
  EXPECT_THAT(
      Pieces(StageKind::kQwen2, "I'LL go,  at 12:30\n\n  now \r\n"),
      ElementsAre("I", "'LL", " go", ",", " ", " at", " ", "1", "2", ":", "3", "0", "\n\n", " ", " now", " \r\n"));
  EXPECT_THAT(Pieces(StageKind::kQwen2, "\tx .\n\n a"), ElementsAre("\tx", " .\n\n", " a"));
  EXPECT_THAT(Pieces(StageKind::kQwen2, "'\u017F'\u017Fx"), ElementsAre("'\u017F", "'\u017F", "x"));
  EXPECT_THAT(Pieces(StageKind::kQwen2, "a  \u180E b"), ElementsAre("a", " ", " \u180E", " b"));
}

TEST(Pretokenizer, OtherPatterns) {
  EXPECT_THAT(Pieces(StageKind::kLlama3, "x 12345"), ElementsAre("x", " ", "123", "45"));
  EXPECT_THAT(Pieces(StageKind::kGpt2, "I'LL we'll 12345  \n x"),
              ElementsAre("I", "'", "LL", " we", "'ll", " 12345", "  \n", " x"));
  EXPECT_THAT(Pieces({{StageKind::kDigit, {}}, {StageKind::kGpt2, {}}}, "a  12"), ElementsAre("a", "  ", "1", "2"));
  EXPECT_THAT(Pieces(StageKind::kDigits, "a12b"), ElementsAre("a", "12", "b"));
  EXPECT_THAT(Pieces({{StageKind::kPrefixSpace, {}}, {StageKind::kGpt2, {}}}, "ab c"), ElementsAre(" ab", " c"));
}

// Random text over characters that tell the alternatives apart.
std::string RandomText(std::mt19937* rng) {
  static const std::vector<std::string> kAtoms = {
      " ",   "  ",      "\n", "\r\n",   "\t",     "\u00A0",     "\u2028", "\u180E", "'",      "'s",
      "'LL", "'\u017F", "a",  "Z",      "\u00E9", "\u6F22",     "1",      "23",     "\u00B2", "\u0663",
      ".",   "!?",      "_",  "\u3002", "\u0301", "\U0001F600", "\u200B", "\x1C"};
  std::string text;
  for (int n = static_cast<int>((*rng)() % 24); n > 0; --n) text += kAtoms[(*rng)() % kAtoms.size()];
  return text;
}

TEST(Pretokenizer, ScannersAgreeWithTheirPatterns) {
  std::mt19937 rng(3);
  for (int i = 0; i < 5'000; ++i) {
    const std::string text = RandomText(&rng);
    for (const StageKind kind : {StageKind::kGpt2, StageKind::kQwen2, StageKind::kLlama3}) {
      ASSERT_EQ(Pieces(kind, text), RegexPieces(RegexOf(kind), text)) << testing::PrintToString(text);
    }
  }
}

TEST(Pretokenizer, KnownPatternsGetTheirScanner) {
  for (const StageKind kind : {StageKind::kGpt2, StageKind::kQwen2, StageKind::kLlama3}) {
    const auto stage = StageFromRegex(RegexOf(kind));
    ASSERT_TRUE(stage.ok());
    EXPECT_EQ((*stage).kind, kind);
  }
}

TEST(SplitRegex, EmitsMatchesAndGaps) {
  EXPECT_THAT(RegexPieces("b+", "abbac"), ElementsAre("a", "bb", "ac"));
  EXPECT_THAT(RegexPieces("(?=a)", "bab"), ElementsAre("b", "ab"));
  EXPECT_THAT(RegexPieces(R"(\s)", "a\u180E\u00A0b"), ElementsAre("a\u180E", "\u00A0", "b"));
  EXPECT_THAT(RegexPieces(R"([^\s]+)", "a\u180E b"), ElementsAre("a\u180E", " ", "b"));
  EXPECT_THAT(RegexPieces(SplitRegex::Quote("a.b*"), "xa.b*a-b*"), ElementsAre("x", "a.b*", "a-b*"));
}

TEST(SplitRegex, RefusesWhatTheEnginesReadDifferently) {
  for (const char* pattern : {R"(\h)", R"(\w+)", R"([\S])", "[a[b]]", "[a&&b]", "a{2,3}+", "a{,3}", "(?i:straSSe)",
                              "(?i)a", "(?<n>a)", R"(\b)", "(?i:\u00E9)", "\\"}) {
    const auto stage = GenericStageFromRegex(pattern);
    ASSERT_FALSE(stage.ok()) << pattern;
    EXPECT_EQ(stage.status().code(), StatusCode::kUnimplemented) << pattern;
  }
  EXPECT_EQ(GenericStageFromRegex("(a").status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(GenericStageFromRegex("a\xFF").status().code(), StatusCode::kDataLoss);
}

TEST(SplitRegex, CatastrophicPatternsEnd) {
  const std::string text(60, 'a');
  const auto pieces = RegexPieces("(?:a+)+b", text);
  EXPECT_THAT(pieces, ElementsAre(text));
}

// Work is counted over the text, not over a match: each of these is dear in its own way.
TEST(SplitRegex, WorkOfATextIsBounded) {
  for (const char* pattern : {"(?:a+)+b", "(?:a|aa)+b", "[^x]*[yz]", "(?:[^x]*[yz]|b)+", "(?=(?:a+)+c)a"}) {
    const auto stage = GenericStageFromRegex(pattern);
    ASSERT_TRUE(stage.ok()) << pattern;
    const std::string text(1 << 20, 'a');
    SplitWork work(text.size(), {});
    size_t bytes = 0;
    const auto begin = std::chrono::steady_clock::now();
    Pretokenize(
        {*stage}, text, [&](std::string_view piece) { bytes += piece.size(); }, &work);
    EXPECT_EQ(work.status().code(), StatusCode::kResourceExhausted) << pattern;
    EXPECT_EQ(bytes, text.size()) << pattern;
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20)) << pattern;
  }
}

TEST(SplitRegex, WorkSufficesForPatternsInUse) {
  const auto stage = GenericStageFromRegex(RegexOf(StageKind::kQwen2));
  ASSERT_TRUE(stage.ok());
  for (const std::string part : {"a", " ", "1", "\n", "'s ", "Words, and 12 numbers.\n\n", "\u4e16 ", "!?"}) {
    std::string text;
    while (text.size() < (1 << 20)) text += part;
    SplitWork work(text.size(), {});
    Pretokenize(
        {*stage}, text, [](std::string_view) {}, &work);
    EXPECT_TRUE(work.status().ok()) << testing::PrintToString(part);
  }
}

TEST(SplitRegex, StopsWhenAsked) {
  const auto stage = GenericStageFromRegex("(?:a+)+b");
  std::stop_source stop;
  stop.request_stop();
  const std::string text(1000, 'a');
  SplitWork work(text.size(), stop.get_token());
  Pretokenize(
      {*stage}, text, [](std::string_view) {}, &work);
  EXPECT_EQ(work.status().code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace inkstone

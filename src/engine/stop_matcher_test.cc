#include "engine/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace inkstone {
namespace {

struct Outcome {
  std::string text;
  std::string stop;
  bool operator==(const Outcome&) const = default;
};

Outcome Stream(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops);
  Outcome out;
  for (const std::string& piece : pieces) out.text += matcher.Push(piece);
  if (!matcher.matched()) out.text += matcher.Flush();
  if (matcher.matched()) out.stop = matcher.match();
  return out;
}

// The definition: the first place where some stop string ends, and the longest one that ends there.
Outcome Reference(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::string found;
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop) && stop.size() > found.size()) found = stop;
    }
    if (!found.empty()) return {text.substr(0, end - found.size()), found};
  }
  return {text, ""};
}

TEST(StopMatcher, FindsAStopStringAcrossPieces) {
  EXPECT_EQ(Stream({"END"}, {"textE", "N", "Dmore"}), (Outcome{"text", "END"}));
  EXPECT_EQ(Stream({"\n\n"}, {"a\n", "b\n", "\nc"}), (Outcome{"a\nb", "\n\n"}));
  EXPECT_EQ(Stream({}, {"all", " of it"}), (Outcome{"all of it", ""}));
}

TEST(StopMatcher, HoldsBackNoMoreThanCouldBecomeAStopString) {
  StopMatcher matcher({"abc", "bcd!"});
  EXPECT_EQ(matcher.Push("xab"), "x");
  EXPECT_EQ(matcher.Push("x"), "abx");
  EXPECT_EQ(matcher.Push("bc"), "");
  EXPECT_EQ(matcher.Push("d"), "");
  EXPECT_EQ(matcher.Push(""), "");
  EXPECT_EQ(matcher.Push("?"), "bcd?");
  EXPECT_EQ(matcher.Push("ab"), "");
  EXPECT_EQ(matcher.Flush(), "ab");
  EXPECT_FALSE(matcher.matched());
}

TEST(StopMatcher, TheFirstCompleteMatchWinsAndTheLongestOfThoseThatEndThere) {
  EXPECT_EQ(Stream({"bc", "abcd"}, {"xabcd"}), (Outcome{"xa", "bc"}));
  EXPECT_EQ(Stream({"bc", "abc"}, {"xabcd"}), (Outcome{"x", "abc"}));
  EXPECT_EQ(Stream({"aab"}, {"aaab"}), (Outcome{"a", "aab"}));
  EXPECT_EQ(Stream({"a"}, {"", "a", "a"}), (Outcome{"", "a"}));
}

TEST(StopMatcher, NeverSplitsACharacter) {
  EXPECT_EQ(Stream({"é!"}, {"caf", "è", "é", "!"}), (Outcome{"cafè", "é!"}));
  StopMatcher matcher({"é"});
  EXPECT_EQ(matcher.Push("è"), "è");
}

TEST(StopMatcher, MatchesTheDefinitionForRandomTexts) {
  std::mt19937 random(11);
  const auto word = [&random](size_t least, size_t most) {
    std::string text;
    const size_t size = least + random() % (most - least + 1);
    while (text.size() < size) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  int matches = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = random() % 4; i > 0; --i) stops.push_back(word(3, 9));
    std::vector<std::string> pieces;
    std::string text;
    for (size_t i = random() % 12; i > 0; --i) text += pieces.emplace_back(word(0, 5));
    const Outcome expected = Reference(stops, text);
    ASSERT_EQ(Stream(stops, pieces), expected) << text;
    matches += expected.stop.empty() ? 0 : 1;
  }
  EXPECT_GT(matches, 500);
}

TEST(StopMatcher, ValidateNamesWhatIsWrong) {
  EXPECT_TRUE(StopSet({"a", "é"}).Validate().ok());
  EXPECT_EQ(StopSet({""}).Validate().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(StopSet({"\xa9"}).Validate().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(StopSet({std::string(4097, 'x')}).Validate().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(StopSet(std::vector<std::string>(65, "x")).Validate().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace inkstone

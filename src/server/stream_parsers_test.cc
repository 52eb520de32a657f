// Reasoning and tool calls, cut at every place.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/reasoning_parser.h"
#include "server/tool_call_parser.h"

namespace inkstone {
namespace {

struct Split {
  std::string reasoning;
  std::string answer;
  bool operator==(const Split&) const = default;
};

// Feeds the text in pieces of `step` bytes.
Split Reason(ThinkStart start, const std::string& text, size_t step, bool ended = true) {
  ReasoningParser parser(start);
  Split out;
  const auto take = [&](const ReasoningParser::Parts& parts) {
    out.reasoning += parts.reasoning;
    out.answer += parts.answer;
  };
  for (size_t i = 0; i < text.size(); i += step) take(parser.Push(text.substr(i, step)));
  take(parser.Finish(ended));
  return out;
}

TEST(ReasoningParser, SplitsHoweverTheTextIsCut) {
  const std::string text = "<think>\nwhy < how </thin no\n</think>\n\nBecause <think> is a tag.";
  const Split expected{"why < how </thin no", "Because <think> is a tag."};
  for (size_t step = 1; step <= text.size(); ++step)
    EXPECT_EQ(Reason(ThinkStart::kMaybe, text, step), expected) << step;
}

TEST(ReasoningParser, LeavesAnswersOfModelsThatDoNotThink) {
  EXPECT_EQ(Reason(ThinkStart::kNever, "<think>x</think>y", 3), (Split{"", "<think>x</think>y"}));
  EXPECT_EQ(Reason(ThinkStart::kMaybe, "plain", 1), (Split{"", "plain"}));
  EXPECT_EQ(Reason(ThinkStart::kMaybe, "<thi", 1), (Split{"", "<thi"}));
  EXPECT_EQ(Reason(ThinkStart::kMaybe, "  spaced", 1), (Split{"", "  spaced"}));
}

TEST(ReasoningParser, KnowsThinkingThatThePromptHasOpened) {
  for (size_t step = 1; step < 20; ++step) {
    EXPECT_EQ(Reason(ThinkStart::kInside, "deep\n</think>\n\nyes", step), (Split{"deep", "yes"}));
  }
}

TEST(ReasoningParser, AForgottenClosingTagDoesNotSwallowTheAnswer) {
  EXPECT_EQ(Reason(ThinkStart::kInside, "the answer is 4", 2), (Split{"the answer is 4", "the answer is 4"}));
  EXPECT_EQ(Reason(ThinkStart::kInside, "still thinki", 2, false), (Split{"still thinki", ""}));
}

struct Found {
  std::string content;
  std::vector<std::pair<std::string, std::string>> calls;
  bool operator==(const Found&) const = default;
};

Found FindCalls(const std::string& text, size_t step, bool active = true) {
  ToolCallParser parser(active);
  Found out;
  const auto take = [&](const ToolCallParser::Parts& parts) {
    out.content += parts.content;
    for (const auto& call : parts.calls) out.calls.emplace_back(call.name, call.arguments);
  };
  for (size_t i = 0; i < text.size(); i += step) take(parser.Push(text.substr(i, step)));
  take(parser.Finish());
  return out;
}

TEST(ToolCallParser, FindsCallsHoweverTheTextIsCut) {
  const std::string text =
      "Let me look.\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"q\": \"</x> \\\"a\\\"\", \"n\": 0.5}}\n"
      "</tool_call>\n<tool_call>\n{\"name\":\"now\"}\n</tool_call>";
  const Found expected{"Let me look.", {{"get", R"({"q": "</x> \"a\"", "n": 0.5})"}, {"now", "{}"}}};
  for (size_t step = 1; step <= text.size(); ++step) EXPECT_EQ(FindCalls(text, step), expected) << step;
}

TEST(ToolCallParser, MalformedCallsStayText) {
  for (const std::string text :
       {"<tool_call>{\"name\": \"get\", </tool_call>", "<tool_call>[1]</tool_call>",
        "<tool_call>{\"name\": 3}</tool_call>", "<tool_call>{\"name\":\"f\",\"arguments\":[1]}</tool_call>",
        "<tool_call>{\"name\": \"ge", "a <tool_cal", "1 < 2\n\n"}) {
    for (size_t step = 1; step <= text.size(); ++step) EXPECT_EQ(FindCalls(text, step), (Found{text, {}})) << text;
  }
}

TEST(ToolCallParser, AcceptsWhatModelsGetNearlyRight) {
  EXPECT_EQ(FindCalls("<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}</tool_call>", 5),
            (Found{"", {{"f", R"({"a":1})"}}}));
  EXPECT_EQ(FindCalls("<tool_call>{\"name\":\"f\",\"arguments\":{}}", 5), (Found{"", {{"f", "{}"}}}));
}

TEST(ToolCallParser, DoesNothingWithoutTools) {
  const std::string text = "<tool_call>{\"name\":\"f\"}</tool_call>";
  EXPECT_EQ(FindCalls(text, 4, false), (Found{text, {}}));
}

}  // namespace
}  // namespace inkstone

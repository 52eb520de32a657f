// Reasoning and tool calls, cut at every place.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <memory>
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

TEST(ToolCallParser, ArgumentsAreTheModelsText) {
  const std::string arguments = R"({"a": 12345678901234567890123, "b": 1E400, "c": 100000.0, "d": "\u0041,}"})";
  const std::string text = R"(<tool_call>{"note": ["arguments", {"arguments": 1}], "name": "f", "arguments": )" +
                           arguments + "}</tool_call>";
  for (size_t step = 1; step < 40; ++step) EXPECT_EQ(FindCalls(text, step), (Found{"", {{"f", arguments}}})) << step;
}

TEST(ToolCallParser, MendsWhatModelsForget) {
  const auto calls = [](const std::string& body) { return FindCalls("<tool_call>\n" + body + "\n</tool_call>", 3); };
  EXPECT_EQ(calls("{\"name\": \"f\", \"arguments\": {\"t\": \"A\nB\t\"}}"),
            (Found{"", {{"f", R"({"t": "A\nB\u0009"})"}}}));
  EXPECT_EQ(calls(R"({"name": "f", "arguments": {"t": ["}", 1]})"), (Found{"", {{"f", R"({"t": ["}", 1]})"}}}));
  EXPECT_EQ(calls(R"({"name": "f", "arguments": {"t": [1)"), (Found{"", {{"f", R"({"t": [1]})"}}}));
  EXPECT_EQ(calls(R"({"name": "f", "arguments": {"t": 1}}})"), (Found{"", {{"f", R"({"t": 1})"}}}));
  // A call that was cut off is no call.
  const std::string cut = R"(<tool_call>{"name": "f", "arguments": {"path": "/"})";
  EXPECT_EQ(FindCalls(cut, 3), (Found{cut, {}}));
}

TEST(ToolCallParser, ReadsMarkupCalls) {
  const boost::json::value tools = boost::json::parse(
      R"([{"type":"function","function":{"name":"f","parameters":{"properties":{"n":{"type":"integer"},)"
      R"("b":{"type":"boolean"},"o":{"type":["object","null"]},"s":{"type":"string"}}}}}])");
  const auto types = std::make_shared<ToolTypes>(tools);
  const auto find = [&types](const std::string& body) {
    ToolCallParser parser(true, types);
    auto parts = parser.Push("<tool_call>\n" + body + "\n</tool_call>");
    return parts.calls.size() == 1 ? parts.calls[0].name + parts.calls[0].arguments : "content: " + parts.content;
  };
  EXPECT_EQ(find("<function=f>\n<parameter=n>\n1e2\n</parameter>\n<parameter=b>\nTrue\n</parameter>\n"
                 "<parameter=o>\n{\"a\": 1.50}\n</parameter>\n<parameter=s>\n12\n</parameter>\n</function>"),
            R"(f{"n":1e2,"b":true,"o":{"a": 1.50},"s":"12"})");
  EXPECT_EQ(find("<function=g><parameter=t>\n\nA \"b\"\n</parameter></function>"), R"(g{"t":"\nA \"b\""})");
  EXPECT_EQ(find("<function=f>\n</function>"), "f{}");
  EXPECT_EQ(find("<function=f><parameter=n>two</parameter>"), R"(f{"n":"two"})");
  EXPECT_EQ(find("<function=f>words</function>"), "content: <tool_call>\n<function=f>words</function>\n</tool_call>");
}

TEST(ToolCallParser, DoesNothingWithoutTools) {
  const std::string text = "<tool_call>{\"name\":\"f\"}</tool_call>";
  EXPECT_EQ(FindCalls(text, 4, false), (Found{text, {}}));
}

}  // namespace
}  // namespace inkstone

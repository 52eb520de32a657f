#include "chat/context_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace inkstone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Kind = ContextPolicy::Kind;

// One token for each character, one for the role, one for the answer that begins.
Result<std::vector<int32_t>> Encode(const ChatPrompt& prompt) {
  std::vector<int32_t> tokens;
  for (const ChatMessage& message : prompt.messages) {
    if (message.content == "raise") return InvalidArgument("refused");
    tokens.push_back(-static_cast<int32_t>(message.role[0]));
    tokens.insert(tokens.end(), message.content.begin(), message.content.end());
  }
  tokens.push_back(0);
  return tokens;
}

ChatMessage Message(const std::string& role, const std::string& content) {
  ChatMessage message;
  message.role = role;
  message.content = content;
  return message;
}

ChatMessage Call(const std::string& id) {
  ChatMessage message = Message("assistant", "");
  message.tool_calls.push_back({id, "f", "{}"});
  return message;
}

ChatMessage ToolResult(const std::string& id) {
  ChatMessage message = Message("tool", "r");
  message.tool_call_id = id;
  return message;
}

ChatPrompt Rounds(int count, size_t content) {
  ChatPrompt prompt;
  prompt.messages.push_back(Message("system", "s"));
  for (int i = 0; i < count; ++i) {
    if (i > 0) prompt.messages.push_back(Message("assistant", std::string(content, 'a')));
    prompt.messages.push_back(Message("user", std::string(content, 'u')));
  }
  return prompt;
}

FittedChat Fit(const ChatPrompt& prompt, const ContextPolicy& policy, const ContextRoom& room) {
  auto fitted = FitChat(prompt, policy, room, Encode);
  EXPECT_TRUE(fitted.ok()) << fitted.status().message();
  return std::move(fitted).value();
}

TEST(ContextPolicy, ParsesAndNames) {
  for (const char* name : {"reject", "window", "rounds=1", "rounds=5", "rounds=1000000"}) {
    const auto policy = ContextPolicy::Parse(name);
    ASSERT_TRUE(policy.ok()) << name;
    EXPECT_EQ(policy->Name(), name);
  }
  for (const char* name : {"", "Window", "rounds", "rounds=", "rounds=0", "rounds=-1", "rounds=5x", "rounds= 5",
                           "rounds=99999999999", "window "}) {
    EXPECT_EQ(ContextPolicy::Parse(name).status().code(), StatusCode::kInvalidArgument) << name;
  }
  EXPECT_THAT(ContextPolicy::Parse("all").status().message(),
              HasSubstr("rounds=N with N of at least 1, found \"all\""));
}

TEST(ContextRoom, IsTheLimitOrAQuarter) {
  EXPECT_EQ(ContextRoom::For(8192, 100).answer, 100);
  EXPECT_EQ(ContextRoom::For(8192, -1).answer, 1024);
  EXPECT_EQ(ContextRoom::For(2048, -1).answer, 512);
  EXPECT_EQ(ContextRoom::For(2048, 2048).answer, 512);  // no limit that could be met
  EXPECT_EQ(ContextRoom::For(2, -1).answer, 1);
  EXPECT_TRUE((ContextRoom{100, 10}.Fits(90)));
  EXPECT_FALSE((ContextRoom{100, 10}.Fits(91)));
}

TEST(RoundStarts, AreTheUsersMessagesAfterTheSystemTurn) {
  const auto starts = [](std::vector<ChatMessage> messages) { return RoundStarts(messages); };
  const ChatMessage system = Message("system", "s");
  const ChatMessage user = Message("user", "u");
  const ChatMessage assistant = Message("assistant", "a");
  EXPECT_THAT(starts({}), IsEmpty());
  EXPECT_THAT(starts({system, system}), IsEmpty());
  EXPECT_THAT(starts({system, system, user, assistant, user}), ElementsAre(2, 4));
  EXPECT_THAT(starts({assistant, user}), ElementsAre(0, 1));
  EXPECT_THAT(starts({user, assistant, system, user}), ElementsAre(0, 3));
  EXPECT_THAT(starts({user, user, user}), ElementsAre(0, 1, 2));
}

TEST(RoundStarts, KeepAToolsResultWithItsCall) {
  const ChatMessage user = Message("user", "u");
  EXPECT_THAT(RoundStarts({user, Call("a"), ToolResult("a"), Message("assistant", "x"), user}), ElementsAre(0, 4));
  EXPECT_THAT(RoundStarts({user, user, Call("a"), user, ToolResult("a"), user}), ElementsAre(0, 1, 5));
  EXPECT_THAT(RoundStarts({user, Call("a"), Call("b"), user, user, ToolResult("a"), ToolResult("b")}), ElementsAre(0));
  EXPECT_THAT(RoundStarts({user, Call("a"), user, ToolResult("")}), ElementsAre(0));
  // A result without a call belongs to the round that it stands in.
  EXPECT_THAT(RoundStarts({user, user, ToolResult("lost"), ToolResult("")}), ElementsAre(0, 1));
}

TEST(SystemTokens, EndWhereTheFirstRoundBegins) {
  const auto system_tokens = [](std::vector<ChatMessage> messages) {
    ChatPrompt prompt;
    prompt.messages = std::move(messages);
    const auto tokens = Encode(prompt);
    return std::pair(*SystemTokens(prompt, *tokens, Encode), static_cast<int64_t>(tokens->size()));
  };
  const ChatMessage system = Message("system", "be brief");
  const auto [shared, all] = system_tokens({system, Message("user", "hello"), Message("assistant", "hi")});
  EXPECT_GT(shared, 8);
  EXPECT_LT(shared, all);
  for (const char* text : {"? hello", "!", "hello, what is the weather"}) {
    EXPECT_EQ(system_tokens({system, Message("user", text)}).first, shared) << text;
  }
  EXPECT_GT(system_tokens({system, system, Message("user", "x")}).first, shared);
  EXPECT_EQ(system_tokens({Message("user", "x")}).first, 0) << "no system text";
  EXPECT_EQ(system_tokens({system}).first, 0) << "nothing but a system text: all of it is what is asked";
}

TEST(FitChat, RejectDropsNothing) {
  const FittedChat fitted = Fit(Rounds(9, 50), {}, {100, 10});
  EXPECT_EQ(fitted.prompt.messages.size(), 18u);
  EXPECT_GT(fitted.tokens.size(), 100u);
  EXPECT_FALSE(fitted.dropped.any());
}

TEST(FitChat, WhatFitsStaysWhole) {
  const FittedChat fitted = Fit(Rounds(3, 4), {Kind::kWindow, 0}, {100, 10});
  EXPECT_EQ(fitted.prompt.messages.size(), 6u);
  EXPECT_FALSE(fitted.dropped.any());
}

TEST(FitChat, RoundsDropEvenWhatWouldFit) {
  const FittedChat fitted = Fit(Rounds(7, 1), {Kind::kRounds, 5}, {1000, 10});
  EXPECT_EQ(fitted.prompt.messages.size(), 1u + 9u);
  EXPECT_EQ(fitted.dropped.messages, 4);
  EXPECT_EQ(fitted.dropped.tokens, 8);
  EXPECT_EQ(fitted.prompt.messages[0].role, "system");
  EXPECT_EQ(fitted.prompt.messages[1].role, "user");
  EXPECT_FALSE(Fit(Rounds(5, 1), {Kind::kRounds, 5}, {1000, 10}).dropped.any());
}

TEST(FitChat, RoundsThatDoNotFitAreCutFurther) {
  // A round has 22 tokens, the newest 11, system and the beginning of the answer 3.
  const FittedChat fitted = Fit(Rounds(9, 10), {Kind::kRounds, 5}, {90, 30});
  EXPECT_EQ(fitted.tokens.size(), 3u + 2 * 22 + 11);
  EXPECT_EQ(fitted.dropped.messages, 12);
  EXPECT_EQ(fitted.dropped.tokens, 6 * 22);
}

TEST(FitChat, TheNewestRoundStaysWhateverItsSize) {
  ChatPrompt prompt = Rounds(4, 10);
  prompt.messages.back().content = std::string(500, 'u');
  const FittedChat fitted = Fit(prompt, {Kind::kWindow, 0}, {100, 10});
  EXPECT_EQ(fitted.prompt.messages.size(), 2u);
  EXPECT_EQ(fitted.tokens.size(), 3u + 501);
  EXPECT_EQ(fitted.dropped.messages, 6);
}

TEST(FitChat, AConversationWithoutRoundsIsKept) {
  ChatPrompt prompt;
  prompt.messages.push_back(Message("system", std::string(500, 's')));
  EXPECT_EQ(Fit(prompt, {Kind::kWindow, 0}, {100, 10}).tokens.size(), 502u);
}

TEST(FitChat, PassesTheTemplatesErrorsOn) {
  ChatPrompt prompt = Rounds(3, 1);
  prompt.messages[1].content = "raise";
  EXPECT_EQ(FitChat(prompt, {Kind::kWindow, 0}, {100, 10}, Encode).status().message(), "refused");
}

TEST(FitChat, RendersFewCandidates) {
  int renders = 0;
  const auto counting = [&](const ChatPrompt& prompt) {
    ++renders;
    return Encode(prompt);
  };
  ASSERT_TRUE(FitChat(Rounds(1000, 10), {Kind::kWindow, 0}, {2000, 100}, counting).ok());
  EXPECT_LE(renders, 2 + 10);
  renders = 0;
  ASSERT_TRUE(FitChat(Rounds(1000, 10), {Kind::kWindow, 0}, {1'000'000, 100}, counting).ok());
  EXPECT_EQ(renders, 1);
}

ChatPrompt RandomConversation(std::mt19937* random) {
  const auto below = [&](unsigned n) { return (*random)() % n; };
  ChatPrompt prompt;
  for (unsigned i = below(3); i > 0; --i) prompt.messages.push_back(Message("system", std::string(below(20), 's')));
  if (below(4) == 0) prompt.messages.push_back(Message("assistant", "hello"));
  for (unsigned round = below(12); round > 0; --round) {
    prompt.messages.push_back(Message("user", std::string(below(40), 'u')));
    for (unsigned step = below(3); step > 0; --step) {
      const std::string id = std::to_string((*random)());
      prompt.messages.push_back(Call(id));
      if (below(8) == 0) prompt.messages.push_back(Message("user", "wait"));
      prompt.messages.push_back(ToolResult(id));
    }
    if (below(5) != 0) prompt.messages.push_back(Message("assistant", std::string(below(40), 'a')));
  }
  return prompt;
}

bool Same(const ChatMessage& a, const ChatMessage& b) {
  return a.role == b.role && a.content == b.content && a.tool_call_id == b.tool_call_id &&
         a.tool_calls.size() == b.tool_calls.size();
}

// A conversation, its policy and room, and the checks of what the cut promises.
struct Property {
  ChatPrompt prompt;
  ContextPolicy policy;
  ContextRoom room;

  void Check() const {
    const auto& all = prompt.messages;
    const FittedChat fitted = Fit(prompt, policy, room);
    const auto& kept = fitted.prompt.messages;
    ASSERT_EQ(fitted.tokens, *Encode(fitted.prompt));
    ASSERT_EQ(fitted.dropped.messages, static_cast<int64_t>(all.size() - kept.size()));
    ASSERT_EQ(fitted.dropped.tokens, static_cast<int64_t>(Encode(prompt)->size() - fitted.tokens.size()));
    // A system prefix and a suffix that begins with a round.
    const std::vector<size_t> starts = RoundStarts(all);
    const size_t system = starts.empty() ? all.size() : starts[0];
    ASSERT_GE(kept.size(), system);
    ASSERT_TRUE(std::equal(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(system), kept.begin(), Same));
    const size_t begin = all.size() - (kept.size() - system);
    ASSERT_TRUE(std::equal(all.begin() + static_cast<std::ptrdiff_t>(begin), all.end(),
                           kept.begin() + static_cast<std::ptrdiff_t>(system), Same));
    if (starts.empty()) return;
    const auto start = std::find(starts.begin(), starts.end(), begin);
    ASSERT_NE(start, starts.end());
    CheckSize(fitted, starts, static_cast<size_t>(start - starts.begin()));
  }

  // It fits unless only the newest round is left, and one round more would not have fitted or been wanted.
  void CheckSize(const FittedChat& fitted, const std::vector<size_t>& starts, size_t cut) const {
    const size_t rounds = starts.size() - cut;
    if (policy.kind == Kind::kReject) {
      ASSERT_EQ(cut, 0u);
      return;
    }
    ASSERT_TRUE(room.Fits(fitted.tokens.size()) || rounds == 1);
    if (policy.kind == Kind::kRounds) {
      ASSERT_LE(static_cast<int64_t>(rounds), policy.rounds);
    }
    const bool wanted = policy.kind == Kind::kWindow || static_cast<int64_t>(rounds) < policy.rounds;
    if (cut == 0 || !wanted) return;
    ChatPrompt more = prompt;
    more.messages.erase(more.messages.begin() + static_cast<std::ptrdiff_t>(starts[0]),
                        more.messages.begin() + static_cast<std::ptrdiff_t>(starts[cut - 1]));
    ASSERT_FALSE(room.Fits(Encode(more)->size()));
  }
};

TEST(FitChat, KeepsTheSystemTurnAndTheLongestSuffixOfWholeRoundsThatFits) {
  std::mt19937 random(7);
  for (int i = 0; i < 4000; ++i) {
    const ContextPolicy policies[] = {{}, {Kind::kWindow, 0}, {Kind::kRounds, 1 + static_cast<int64_t>(random() % 6)}};
    const int64_t context = 20 + static_cast<int64_t>(random() % 400);
    const Property property{RandomConversation(&random), policies[random() % 3],
                            ContextRoom::For(context, static_cast<int64_t>(random() % 60) - 1)};
    property.Check();
    ASSERT_FALSE(HasFatalFailure()) << "conversation " << i;
  }
}

TEST(FitTokens, KeepsTheNewestAndBos) {
  const auto fit = [](std::vector<int32_t> tokens, const ContextPolicy& policy, const ContextRoom& room, int32_t bos) {
    const size_t before = tokens.size();
    const int64_t dropped = FitTokens(&tokens, policy, room, bos);
    EXPECT_EQ(dropped, static_cast<int64_t>(before - tokens.size()));
    return tokens;
  };
  const ContextPolicy window{Kind::kWindow, 0};
  EXPECT_THAT(fit({1, 2, 3, 4, 5}, window, {6, 3}, -1), ElementsAre(3, 4, 5));
  EXPECT_THAT(fit({1, 2, 3, 4, 5}, window, {6, 3}, 1), ElementsAre(1, 4, 5));
  EXPECT_THAT(fit({1, 2, 3, 4, 5}, window, {6, 3}, 9), ElementsAre(3, 4, 5));
  EXPECT_THAT(fit({1, 2, 3, 4, 5}, window, {6, 5}, 1), ElementsAre(1, 5));
  EXPECT_THAT(fit({1, 2, 3}, window, {6, 3}, 1), ElementsAre(1, 2, 3));
  EXPECT_THAT(fit({1, 2, 3, 4, 5}, {}, {6, 3}, -1), ElementsAre(1, 2, 3, 4, 5));
}

}  // namespace
}  // namespace inkstone

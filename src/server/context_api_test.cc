// What a client sees of the context policies: body, stream, header, metrics, log and errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <boost/json.hpp>
#include <sstream>
#include <string>

#include "server/json_fields.h"
#include "server/testing/running_server.h"

namespace inkstone::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A system turn and rounds of 1,000 characters; the model has 4,096 tokens, each a byte.
std::string Conversation(int rounds, const std::string& fields) {
  JsonWriter json;
  json.BeginObject().Key("messages").BeginArray();
  const auto message = [&](const char* role, const std::string& content) {
    json.BeginObject().Field("role", role).Field("content", content).EndObject();
  };
  message("system", "rules");
  for (int i = 1; i <= rounds; ++i) {
    message("user", "question " + std::to_string(i) + std::string(488, '.'));
    if (i < rounds) message("assistant", std::string(500, 'a'));
  }
  json.EndArray();
  std::string text = json.Take();
  return text + (fields.empty() ? "" : ",") + fields + "}";
}

// Answers with the number of the oldest question that it sees.
Script OldestQuestion(const GenerationRequest&, const std::string& prompt) {
  const size_t found = prompt.find("question ");
  Script script;
  script.pieces = {found == std::string::npos ? "none" : prompt.substr(found + 9, 1),
                   prompt.find("rules") == std::string::npos ? " without" : " with", " rules"};
  return script;
}

boost::json::value Parse(const std::string& text) {
  auto value = ParseJson(text);
  EXPECT_TRUE(value) << text;
  return value.value_or(nullptr);
}

std::string Answer(const TestResponse& response) {
  return std::string(View(Parse(response.body).at("choices").at(0).at("message").at("content").as_string()));
}

TEST(ContextPolicyApi, RoundsAreCutAndToldInBodyAndHeader) {
  RunningServer server(OldestQuestion);
  server.Start();
  const auto response = server.Ask("POST", "/v1/chat/completions", Conversation(3, R"("context_policy":"rounds=2")"));
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(Answer(response), "2 with rules");
  const auto context = Parse(response.body).at("context");
  EXPECT_EQ(View(context.at("policy").as_string()), "rounds=2");
  EXPECT_EQ(context.at("dropped_messages").as_int64(), 2);
  // Of both messages: "<|im_start|>", role, line break, content, "<|im_end|>", line break.
  const int64_t tokens = (1 + 4 + 1 + 498 + 2) + (1 + 9 + 1 + 500 + 2);
  EXPECT_EQ(context.at("dropped_tokens").as_int64(), tokens);
  EXPECT_TRUE(response.Has("X-Inkstone-Context-Dropped: messages=2; tokens=" + std::to_string(tokens) + "\r\n"))
      << response.head;
}

TEST(ContextPolicyApi, AStreamTellsInItsHeadItsFirstAndItsLastChunk) {
  RunningServer server(OldestQuestion);
  server.Start();
  const auto response =
      server.Ask("POST", "/v1/chat/completions",
                 Conversation(9, R"("context_policy":"window","stream":true,"stream_options":{"include_usage":true})"));
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_TRUE(response.Has("X-Inkstone-Context-Dropped: messages=12; tokens="));
  const std::string context = R"("context":{"policy":"window","dropped_messages":12,)";
  EXPECT_THAT(response.body.substr(0, response.body.find("\n\n")), HasSubstr(context));
  const size_t usage = response.body.find(R"("choices":[],"usage":)");
  ASSERT_NE(usage, std::string::npos);
  EXPECT_THAT(response.body.substr(usage), HasSubstr(context));
  EXPECT_THAT(response.body, HasSubstr(R"("content":"7")"));
}

TEST(ContextPolicyApi, WithoutUsageTheLastChunkOfTheChoiceTells) {
  RunningServer server(OldestQuestion);
  server.Start();
  const auto response =
      server.Ask("POST", "/v1/chat/completions", Conversation(9, R"("context_policy":"window","stream":true)"));
  const size_t last = response.body.find(R"("finish_reason":"stop")");
  ASSERT_NE(last, std::string::npos);
  EXPECT_THAT(response.body.substr(last), HasSubstr(R"("dropped_messages":12)"));
}

TEST(ContextPolicyApi, LeavesRoomForTheAnswer) {
  RunningServer server(OldestQuestion);
  server.Start();
  const auto ask = [&](const std::string& fields) {
    return Answer(server.Ask("POST", "/v1/chat/completions", Conversation(9, R"("context_policy":"window")" + fields)));
  };
  EXPECT_EQ(ask(R"(,"max_tokens":10)"), "6 with rules");
  EXPECT_EQ(ask(""), "7 with rules");
  EXPECT_EQ(ask(R"(,"max_tokens":3000)"), "9 with rules");
  EXPECT_EQ(ask(R"(,"max_tokens":3590)"), "9 with rules");  // less room than wished is no reason to refuse
}

TEST(ContextPolicyApi, RejectIsTheDefaultAndNothingIsDropped) {
  RunningServer server(OldestQuestion);
  server.Start();
  const auto fits = server.Ask("POST", "/v1/chat/completions", Conversation(3, ""));
  EXPECT_EQ(Answer(fits), "1 with rules");
  EXPECT_FALSE(fits.Has("X-Inkstone-Context-Dropped"));
  const auto refused = server.Ask("POST", "/v1/chat/completions", Conversation(9, ""));
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body, HasSubstr("context_length_exceeded"));
  EXPECT_THAT(refused.body, Not(HasSubstr("even without")));
}

TEST(ContextPolicyApi, ANewestRoundThatDoesNotFitIsAnErrorWithTheNumbers) {
  RunningServer server(OldestQuestion);
  server.Start();
  std::string body = Conversation(3, R"("context_policy":"window")");
  body.replace(body.rfind("question 3"), 10, std::string(5000, 'q'));
  const auto response = server.Ask("POST", "/v1/chat/completions", body);
  EXPECT_EQ(response.status, 400);
  const auto error = Parse(response.body).at("error");
  EXPECT_EQ(View(error.at("code").as_string()), "context_length_exceeded");
  EXPECT_GT(error.at("n_prompt_tokens").as_int64(), 5000);
  EXPECT_LT(error.at("n_prompt_tokens").as_int64(), 5600);
  EXPECT_EQ(error.at("n_ctx").as_int64(), 4096);
  EXPECT_THAT(View(error.at("message").as_string()), HasSubstr("even without 4 older messages"));
  EXPECT_THAT(server.Ask("GET", "/metrics").body, HasSubstr("inkstone_context_dropped_messages_total 0"));
}

TEST(ContextPolicyApi, TheServersPolicyHoldsUnlessTheRequestNamesOne) {
  RunningServer server(OldestQuestion);
  server.options.context_policy = {ContextPolicy::Kind::kRounds, 1};
  server.Start();
  EXPECT_EQ(Answer(server.Ask("POST", "/v1/chat/completions", Conversation(3, ""))), "3 with rules");
  EXPECT_EQ(Answer(server.Ask("POST", "/v1/chat/completions", Conversation(3, R"("context_policy":"reject")"))),
            "1 with rules");
  EXPECT_THAT(server.Ask("GET", "/props").body, HasSubstr(R"("context_policy":"rounds=1")"));
}

TEST(ContextPolicyApi, MetricsAndLogCountWhatWasDropped) {
  std::ostringstream lines;
  {
    RunningServer server(OldestQuestion);
    server.options.access_log = false;
    server.options.logger =
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines));
    server.Start();
    for (int i = 0; i < 2; ++i) {
      server.Ask("POST", "/v1/chat/completions", Conversation(3, R"("context_policy":"rounds=1")"));
    }
    server.Ask("POST", "/v1/chat/completions", Conversation(3, R"("context_policy":"rounds=3")"));
    const std::string metrics = server.Ask("GET", "/metrics").body;
    EXPECT_THAT(metrics, HasSubstr("inkstone_context_dropped_messages_total 8\n"));
    EXPECT_THAT(metrics, HasSubstr("inkstone_context_dropped_tokens_total " + std::to_string(4 * 1019) + "\n"));
  }
  EXPECT_THAT(lines.str(), HasSubstr("context policy rounds=1: 4 older messages, 2038 tokens left out"));
  EXPECT_THAT(lines.str(), Not(HasSubstr("rounds=3")));
}

TEST(ContextPolicyApi, ARawPromptKeepsItsNewestTokens) {
  RunningServer server([](const GenerationRequest&, const std::string& prompt) {
    Script script;
    script.pieces = {std::to_string(prompt.size()) + prompt.substr(prompt.size() - 3)};
    return script;
  });
  server.Start();
  const auto ask = [&](const std::string& fields) {
    return server.Ask("POST", "/v1/completions", R"({"prompt":")" + std::string(5000, 'x') + "end\"" + fields + "}");
  };
  EXPECT_EQ(ask("").status, 400);
  const auto cut = ask(R"(,"context_policy":"window","max_tokens":96)");
  ASSERT_EQ(cut.status, 200) << cut.body;
  EXPECT_THAT(cut.body, HasSubstr(R"("text":"4000end")"));
  EXPECT_THAT(cut.body, HasSubstr(R"("context":{"policy":"window","dropped_messages":0,"dropped_tokens":1003})"));
  EXPECT_TRUE(cut.Has("X-Inkstone-Context-Dropped: messages=0; tokens=1003\r\n"));
  const auto stream = ask(R"(,"context_policy":"window","max_tokens":96,"stream":true)");
  EXPECT_THAT(stream.body, HasSubstr(R"("dropped_tokens":1003)"));
  const auto refused = ask(R"(,"context_policy":"rounds=2")");
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body, HasSubstr("a raw prompt has no rounds"));
}

TEST(ContextPolicyApi, AServerThatKeepsRoundsKeepsTheNewestTokensOfRawPrompts) {
  RunningServer server(Says({"a"}));
  server.options.context_policy = {ContextPolicy::Kind::kRounds, 5};
  server.Start();
  const auto response = server.Ask("POST", "/v1/completions", R"({"prompt":")" + std::string(5000, 'x') + "\"}");
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(response.body, HasSubstr(R"("context":{"policy":"window","dropped_messages":0,"dropped_tokens":920})"));
}

}  // namespace
}  // namespace inkstone::testing

// The endpoints over a real connection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "server/json_fields.h"
#include "server/service.h"
#include "server/testing/running_server.h"

namespace inkstone::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

boost::json::value Parse(const std::string& text) {
  auto value = ParseJson(text);
  EXPECT_TRUE(value) << text;
  return value.value_or(nullptr);
}

// The data of each event.
std::vector<std::string> Events(const std::string& body) {
  std::vector<std::string> events;
  size_t begin = 0;
  while (begin < body.size()) {
    const size_t end = body.find("\n\n", begin);
    EXPECT_NE(end, std::string::npos) << body;
    const std::string event = body.substr(begin, end - begin);
    if (event.starts_with("data: ")) events.push_back(event.substr(6));
    begin = end + 2;
  }
  return events;
}

std::string Text(const boost::json::value& value) { return std::string(View(value.as_string())); }

TEST(Chat, AnswersInOnePiece) {
  RunningServer server(Says({"Hel", "lo \xF0\x9F\x98\x80"}));
  server.Start();
  const auto response = server.Ask("POST", "/v1/chat/completions", ChatBody("hi"));
  ASSERT_EQ(response.status, 200) << response.body;
  const auto json = Parse(response.body);
  EXPECT_EQ(Text(json.at("object")), "chat.completion");
  EXPECT_THAT(response.body, HasSubstr(R"("context":{"policy":"reject","dropped_messages":0,"dropped_tokens":0})"));
  EXPECT_EQ(Text(json.at("model")), "fake-model");
  const auto& choice = json.at("choices").at(0);
  EXPECT_EQ(Text(choice.at("message").at("role")), "assistant");
  EXPECT_EQ(Text(choice.at("message").at("content")), "Hello \xF0\x9F\x98\x80");
  EXPECT_EQ(Text(choice.at("finish_reason")), "stop");
  EXPECT_EQ(json.at("usage").at("completion_tokens").as_int64(), 2);
  EXPECT_EQ(json.at("usage").at("prompt_tokens_details").at("cached_tokens").as_int64(), 1);
  EXPECT_THAT(response.body, HasSubstr("\"predicted_ms\":500,\"predicted_per_second\":4,"));
  EXPECT_FLOAT_EQ(server.session.engine().requests().at(0).sampling.temperature, 0.7f);
}

TEST(Chat, StreamsInTheOrderThatClientsExpect) {
  RunningServer server(Says({"Hel", "lo"}));
  server.Start();
  const auto response = server.Ask("POST", "/v1/chat/completions",
                                   ChatBody("hi", R"(,"stream":true,"stream_options":{"include_usage":true})"));
  ASSERT_EQ(response.status, 200);
  EXPECT_TRUE(response.Has("Content-Type: text/event-stream"));
  const auto events = Events(response.body);
  ASSERT_EQ(events.size(), 6u) << response.body;
  EXPECT_THAT(events[0],
              HasSubstr(R"("delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null)"));
  EXPECT_THAT(events[1], HasSubstr(R"("delta":{"content":"Hel"})"));
  EXPECT_THAT(events[2], HasSubstr(R"("delta":{"content":"lo"})"));
  EXPECT_THAT(events[3], HasSubstr(R"("delta":{},"logprobs":null,"finish_reason":"stop")"));
  EXPECT_THAT(events[4], HasSubstr(R"("choices":[],"usage":{"prompt_tokens":)"));
  EXPECT_EQ(events[5], "[DONE]");
}

TEST(Chat, SendsUsageOnlyWhenAsked) {
  RunningServer server(Says({"a"}));
  server.Start();
  const auto response = server.Ask("POST", "/v1/chat/completions", ChatBody("hi", R"(,"stream":true)"));
  EXPECT_THAT(response.body, Not(HasSubstr("usage")));
}

TEST(Chat, GivesSeveralChoicesTheirOwnSeeds) {
  RunningServer server([](const GenerationRequest& request, const std::string&) {
    Script script;
    script.pieces = {"seed " + std::to_string(*request.sampling.seed)};
    return script;
  });
  server.Start();
  const auto json = Parse(server.Ask("POST", "/v1/chat/completions", ChatBody("hi", R"(,"n":3,"seed":10)")).body);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(json.at("choices").at(static_cast<size_t>(i)).at("index").as_int64(), i);
    EXPECT_EQ(Text(json.at("choices").at(static_cast<size_t>(i)).at("message").at("content")),
              "seed " + std::to_string(10 + i));
  }
  EXPECT_EQ(json.at("usage").at("completion_tokens").as_int64(), 3);
}

TEST(Chat, SplitsReasoning) {
  RunningServer server(Says({"<th", "ink>\nhm", "\n", "</think>", "\n\nyes"}));
  server.session.mutable_info().thinks = true;
  server.Start();
  const auto message =
      Parse(server.Ask("POST", "/v1/chat/completions", ChatBody("hi")).body).at("choices").at(0).at("message");
  EXPECT_EQ(Text(message.at("reasoning_content")), "hm");
  EXPECT_EQ(Text(message.at("content")), "yes");
}

TEST(Chat, AClosingTagOfOrdinaryTokensEndsNoReasoning) {
  RunningServer server(Says({"<think>", "\nUse ", "</th", "ink>", " to strip.\n\n", "</think>", "\n\nDone."}));
  server.session.mutable_info().thinks = true;
  server.Start();
  const auto message =
      Parse(server.Ask("POST", "/v1/chat/completions", ChatBody("hi")).body).at("choices").at(0).at("message");
  EXPECT_EQ(Text(message.at("reasoning_content")), "Use </think> to strip.");
  EXPECT_EQ(Text(message.at("content")), "Done.");
}

TEST(Chat, KnowsThinkingThatThePromptHasOpened) {
  RunningServer server(Says({"hm</think>yes"}));
  server.session.mutable_info().thinks = true;
  server.session.opens_think = true;
  server.options.reasoning_field = "reasoning";
  server.Start();
  const auto response = server.Ask("POST", "/v1/chat/completions", ChatBody("hi", R"(,"stream":true)"));
  EXPECT_THAT(response.body, HasSubstr(R"({"reasoning":"hm"})"));
  EXPECT_THAT(response.body, HasSubstr(R"({"content":"yes"})"));
}

TEST(Chat, StreamsToolCalls) {
  RunningServer server(Says({"<tool_call>\n{\"name\": \"get\", ", "\"arguments\": {\"a\": 0.7}}\n</tool_call>"}));
  server.Start();
  const std::string tools = R"(,"tools":[{"type":"function","function":{"name":"get"}}])";
  const auto streamed =
      Events(server.Ask("POST", "/v1/chat/completions", ChatBody("hi", tools + R"(,"stream":true)")).body);
  ASSERT_EQ(streamed.size(), 5u);
  const auto first = Parse(streamed[1]).at("choices").at(0).at("delta").at("tool_calls").at(0);
  EXPECT_EQ(first.at("index").as_int64(), 0);
  EXPECT_THAT(Text(first.at("id")), HasSubstr("call_"));
  EXPECT_EQ(Text(first.at("type")), "function");
  EXPECT_EQ(Text(first.at("function").at("name")), "get");
  EXPECT_THAT(streamed[2], HasSubstr(R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\": 0.7}"}}]})"));
  EXPECT_THAT(streamed[3], HasSubstr(R"("finish_reason":"tool_calls")"));

  const auto whole = Parse(server.Ask("POST", "/v1/chat/completions", ChatBody("hi", tools)).body);
  EXPECT_TRUE(whole.at("choices").at(0).at("message").at("content").is_null());
  EXPECT_EQ(Text(whole.at("choices").at(0).at("finish_reason")), "tool_calls");

  const auto without = Parse(server.Ask("POST", "/v1/chat/completions", ChatBody("hi")).body);
  EXPECT_THAT(Text(without.at("choices").at(0).at("message").at("content")), HasSubstr("<tool_call>"));
}

TEST(Chat, WithoutParallelToolCallsTheFirstStays) {
  const std::string call = "<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool_call>";
  RunningServer server(Says({call, call}));
  server.Start();
  const std::string tools = R"(,"tools":[{"type":"function","function":{"name":"get"}}])";
  const auto calls = [&](const std::string& fields) {
    const auto answer = Parse(server.Ask("POST", "/v1/chat/completions", ChatBody("hi", tools + fields)).body);
    return answer.at("choices").at(0).at("message").at("tool_calls").as_array().size();
  };
  EXPECT_EQ(calls(""), 2u);
  EXPECT_EQ(calls(R"(,"parallel_tool_calls":false)"), 1u);
}

TEST(Chat, GivesLogprobs) {
  RunningServer server(Says({"a\xC3\xA9"}));
  server.Start();
  const auto json =
      Parse(server.Ask("POST", "/v1/chat/completions", ChatBody("hi", R"(,"logprobs":true,"top_logprobs":2)")).body);
  const auto content = json.at("choices").at(0).at("logprobs").at("content");
  ASSERT_EQ(content.as_array().size(), 3u);
  EXPECT_EQ(Text(content.at(0).at("token")), "a");
  EXPECT_EQ(content.at(0).at("logprob").as_double(), -0.5);
  EXPECT_EQ(content.at(0).at("top_logprobs").as_array().size(), 2u);
  EXPECT_EQ(Text(content.at(1).at("token")), "\xEF\xBF\xBD");
  EXPECT_EQ(content.at(1).at("bytes").at(0).as_int64(), 0xC3);
}

TEST(Chat, SaysThatThePromptIsTooLong) {
  RunningServer server(Says({"a"}));
  server.Start();
  const auto response = server.Ask("POST", "/v1/chat/completions", ChatBody(std::string(5000, 'x')));
  EXPECT_EQ(response.status, 400);
  const auto error = Parse(response.body).at("error");
  EXPECT_EQ(Text(error.at("type")), "invalid_request_error");
  EXPECT_EQ(Text(error.at("code")), "context_length_exceeded");
  EXPECT_GT(error.at("n_prompt_tokens").as_int64(), 5000);
  EXPECT_EQ(error.at("n_ctx").as_int64(), 4096);
  EXPECT_THAT(Text(error.at("message")), HasSubstr("This model's maximum context length is 4096 tokens. However, "));
}

TEST(Chat, ReportsErrors) {
  RunningServer server([](const GenerationRequest&, const std::string&) {
    Script script;
    script.pieces = {"part"};
    script.finish = FinishReason::kError;
    script.error = Internal("the weights fell off");
    return script;
  });
  server.Start();
  const auto whole = server.Ask("POST", "/v1/chat/completions", ChatBody("hi"));
  EXPECT_EQ(whole.status, 500);
  EXPECT_THAT(whole.body, HasSubstr("the weights fell off"));
  const auto events = Events(server.Ask("POST", "/v1/chat/completions", ChatBody("hi", R"(,"stream":true)")).body);
  EXPECT_THAT(events.at(events.size() - 2), HasSubstr(R"({"error":{"message":"the weights fell off")"));
  EXPECT_EQ(events.back(), "[DONE]");

  EXPECT_EQ(server.Ask("POST", "/v1/chat/completions", ChatBody("raise")).status, 400);
  EXPECT_EQ(server.Ask("POST", "/v1/chat/completions", "{").status, 400);
  server.session.engine().capacity = 0;
  const auto full = server.Ask("POST", "/v1/chat/completions", ChatBody("hi", R"(,"stream":true)"));
  EXPECT_EQ(full.status, 429);
  EXPECT_EQ(Text(Parse(full.body).at("error").at("code")), "queue_full");
  EXPECT_TRUE(full.Has("Retry-After: 1\r\n"));
}

TEST(Chat, EstimatesWhenToTryAgain) {
  RunningServer server(Says({"a"}));  // 0.75 seconds of the engine's time each
  server.Start();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(server.Ask("POST", "/v1/chat/completions", ChatBody("hi")).status, 200);
  // The last one leaves the engine a moment after its answer.
  for (int i = 0; i < 5000 && !server.session.engine().Idle(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  server.session.engine().capacity = 0;
  server.session.engine().waiting = 40;
  EXPECT_TRUE(server.Ask("POST", "/v1/chat/completions", ChatBody("hi")).Has("Retry-After: 30\r\n"));
  server.session.engine().waiting = 4000;
  EXPECT_TRUE(server.Ask("POST", "/v1/chat/completions", ChatBody("hi")).Has("Retry-After: 120\r\n"));
}

TEST(Chat, ReportsADeadlineThatPassed) {
  RunningServer server([](const GenerationRequest& request, const std::string&) {
    Script script;
    script.pieces = {"part"};
    script.finish = FinishReason::kError;
    script.error = DeadlineExceeded("after " + std::to_string(request.deadline->count()) + " ms");
    return script;
  });
  server.Start();
  const auto whole = server.Ask("POST", "/v1/chat/completions", ChatBody("hi", R"(,"timeout":1.5)"));
  EXPECT_EQ(whole.status, 504);
  EXPECT_EQ(whole.body,
            R"({"error":{"message":"after 1500 ms","type":"timeout","param":null,"code":"deadline_exceeded"}})");
  const auto stream = server.Ask("POST", "/v1/chat/completions", ChatBody("hi", R"(,"timeout":2,"stream":true)"));
  EXPECT_EQ(stream.status, 200);
  const auto events = Events(stream.body);
  EXPECT_THAT(events.at(events.size() - 2), HasSubstr(R"("after 2000 ms","type":"timeout")"));
}

TEST(Origin, IsAHostsAddress) {
  const auto origin = [](const char* address) {
    HttpRequest request;
    request.address = address;
    return OriginOf(request);
  };
  EXPECT_EQ(origin("192.0.2.7"), "address:192.0.2.7");
  EXPECT_EQ(origin("::ffff:192.0.2.7"), origin("192.0.2.7"));
  EXPECT_EQ(origin("::1"), origin("127.0.0.1"));
  EXPECT_NE(origin("127.0.0.2"), origin("127.0.0.1"));
  EXPECT_EQ(origin("2001:db8:1:2:3:4:5:6"), "address:2001:db8:1:2::/64");
  EXPECT_EQ(origin("2001:db8:1:2::1"), origin("2001:db8:1:2:ffff::"));
  EXPECT_NE(origin("2001:db8:1:3::1"), origin("2001:db8:1:2::1"));
}

// The system turn is told to the engine as what several clients may have in common.
TEST(Chat, TellsWhatOfThePromptIsTheSystemText) {
  RunningServer server(Says({"a"}));
  server.Start();
  server.Ask("POST", "/v1/chat/completions",
             R"({"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]})");
  server.Ask("POST", "/v1/chat/completions", ChatBody("hi"));
  const auto requests = server.session.engine().requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_GT(requests[0].shared_tokens, 0);
  EXPECT_LT(requests[0].shared_tokens, static_cast<int64_t>(requests[0].prompt.size()));
  EXPECT_EQ(requests[1].shared_tokens, 0);
}

TEST(Chat, CarriesPriorityAndClient) {
  RunningServer server(Says({"a"}));
  server.Start();
  server.Ask("POST", "/v1/chat/completions", ChatBody("hi", R"(,"priority":7,"user":"ada")"));
  server.Ask("POST", "/v1/completions", R"({"prompt":"x"})");
  server.Ask("GET", "/stream?q=hello");
  const auto requests = server.session.engine().requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].priority, 7);
  EXPECT_EQ(requests[0].client, "ada");
  EXPECT_EQ(requests[0].origin, "address:127.0.0.1") << "whatever name it gives";
  EXPECT_FALSE(requests[0].deadline);
  EXPECT_EQ(requests[1].priority, 0);
  EXPECT_EQ(requests[1].client, "");
  EXPECT_EQ(requests[1].origin, "address:127.0.0.1");
  EXPECT_EQ(requests[2].origin, "address:127.0.0.1");
}

TEST(Completions, AnswersPromptsInOrder) {
  RunningServer server([](const GenerationRequest&, const std::string& prompt) {
    Script script;
    script.pieces = {"<" + prompt, ">"};
    return script;
  });
  server.Start();
  const auto json =
      Parse(server.Ask("POST", "/v1/completions", R"({"prompt":["a","b"],"n":2,"echo":true,"max_tokens":1})").body);
  std::vector<std::string> texts;
  for (const auto& choice : json.at("choices").as_array()) {
    texts.push_back(Text(choice.at("text")));
    EXPECT_EQ(Text(choice.at("finish_reason")), "length");
  }
  EXPECT_THAT(texts, ElementsAre("a<a", "a<a", "b<b", "b<b"));
  EXPECT_EQ(json.at("usage").at("prompt_tokens").as_int64(), 2);
}

TEST(Completions, StreamsWithLogprobs) {
  RunningServer server(Says({"ab", "c"}));
  server.Start();
  const auto events =
      Events(server.Ask("POST", "/v1/completions", R"({"prompt":[97],"stream":true,"logprobs":1})").body);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_THAT(events[0], HasSubstr(R"("text":"ab","logprobs":{"tokens":["a","b"],"token_logprobs":[-0.5,-0.5],)"
                                   R"("top_logprobs":[{"a":-0.5},{"b":-0.5}],"text_offset":[0,1]})"));
  EXPECT_THAT(events[1], HasSubstr(R"("text_offset":[2])"));
  EXPECT_THAT(events[2], HasSubstr(R"("text":"","logprobs":null,"finish_reason":"stop")"));
}

TEST(Plain, StreamAndGenerate) {
  RunningServer server([](const GenerationRequest& request, const std::string& prompt) {
    Script script;
    script.pieces = {"one\ntwo", prompt.substr(0, 12) + std::to_string(request.max_tokens)};
    return script;
  });
  server.Start();
  EXPECT_EQ(server.Ask("GET", "/stream?q=hello%20you&max_new_tokens=5").body,
            "data: one\ndata: two\n\ndata: <|im_start|>5\n\ndata: [DONE]\n\n");
  EXPECT_EQ(server.Ask("POST", "/generate", R"({"prompt":"hi","max_new_tokens":3})").body,
            R"({"text":"one\ntwo<|im_start|>3"})");
  EXPECT_EQ(server.Ask("GET", "/stream").status, 400);
  EXPECT_EQ(server.Ask("GET", "/stream?q=a&max_new_tokens=x").status, 400);
  EXPECT_EQ(server.Ask("POST", "/generate", "{}").status, 400);
}

TEST(Info, TellsAboutModelAndState) {
  RunningServer server(Says({"a"}));
  server.Start();
  EXPECT_EQ(server.Ask("GET", "/health").body, R"({"status":"ok"})");
  EXPECT_EQ(Text(Parse(server.Ask("GET", "/v1/models").body).at("data").at(0).at("id")), "fake-model");
  EXPECT_EQ(server.Ask("GET", "/v1/models/fake-model").status, 200);
  EXPECT_EQ(server.Ask("GET", "/v1/models/other").status, 404);
  const auto props = Parse(server.Ask("GET", "/props").body);
  EXPECT_EQ(props.at("trained_context").as_int64(), 8192);
  EXPECT_THAT(server.Ask("GET", "/props").body, HasSubstr(R"("temperature":0.7)"));
  server.Ask("POST", "/v1/chat/completions", ChatBody("hi"));
  const std::string metrics = server.Ask("GET", "/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("inkstone_http_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("inkstone_time_to_first_token_seconds_count 1"));
  EXPECT_THAT(metrics, HasSubstr("inkstone_generations_total 1"));
  EXPECT_THAT(metrics, HasSubstr("inkstone_resident_bytes "));
}

TEST(Info, TokenizesBothWays) {
  RunningServer server(Says({"a"}));
  server.Start();
  EXPECT_EQ(server.Ask("POST", "/tokenize", R"({"content":"ab<|im_end|>"})").body, R"({"tokens":[97,98,257]})");
  EXPECT_EQ(server.Ask("POST", "/tokenize", R"({"content":"a","with_pieces":true})").body,
            R"({"tokens":[{"id":97,"piece":"a"}]})");
  EXPECT_EQ(server.Ask("POST", "/detokenize", R"({"tokens":[97,98]})").body, R"({"content":"ab"})");
  EXPECT_EQ(server.Ask("POST", "/detokenize", R"({"tokens":[9999]})").status, 400);
  EXPECT_EQ(server.Ask("POST", "/apply-template", ChatBody("hi")).body,
            R"({"prompt":"<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"})");
}

}  // namespace
}  // namespace inkstone::testing

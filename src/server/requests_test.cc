// Request bodies to native types.
#include <gtest/gtest.h>

#include <string>

#include "server/chat_request.h"
#include "server/completion_request.h"

namespace inkstone {
namespace {

const ModelFacts kFacts{.vocab = 1000, .default_sampling = {.temperature = 0.6f}, .has_chat_template = true};

ChatRequest Chat(const std::string& fields) {
  ChatRequest request;
  const auto error =
      ParseChatRequest(R"({"messages":[{"role":"user","content":"hi"}])" + fields + "}", kFacts, &request);
  EXPECT_FALSE(error) << error->message;
  return request;
}

ApiError ChatError(const std::string& body) {
  ChatRequest request;
  const auto error = ParseChatRequest(body, kFacts, &request);
  EXPECT_TRUE(error) << body;
  return error.value_or(ApiError{});
}

ApiError FieldError(const std::string& field) {
  return ChatError(R"({"messages":[{"role":"user","content":"hi"}],)" + field + "}");
}

TEST(ChatRequest, ReadsSampling) {
  const ChatRequest request = Chat(
      R"(,"temperature":0,"top_p":0.5,"top_k":-1,"min_p":0.1,"typical_p":0.9,"repeat_penalty":1.1,"presence_penalty":1,
      "frequency_penalty":-1,"logit_bias":{"5":-100},"seed":-2,"stop":["a","b"],"n":3,"max_tokens":7,
      "max_completion_tokens":9,"logprobs":true,"top_logprobs":2,"ignore_eos":true,"some_new_field":[1],
      "stream":true,"stream_options":{"include_usage":true})");
  const SamplingParams& s = request.params.request.sampling;
  EXPECT_EQ(s.temperature, 0);
  EXPECT_EQ(s.top_p, 0.5f);
  EXPECT_EQ(s.top_k, 0);
  EXPECT_EQ(s.min_p, 0.1f);
  EXPECT_EQ(s.typical_p, 0.9f);
  EXPECT_EQ(s.repetition_penalty, 1.1f);
  EXPECT_EQ(s.presence_penalty, 1);
  EXPECT_EQ(s.frequency_penalty, -1);
  ASSERT_EQ(s.logit_bias.size(), 1u);
  EXPECT_EQ(s.logit_bias[0], (std::pair<int32_t, float>{5, -100.0f}));
  EXPECT_EQ(s.seed, static_cast<uint64_t>(-2));
  ASSERT_EQ(request.params.request.stop.size(), 2u);
  EXPECT_EQ(request.params.request.stop[0] + request.params.request.stop[1], "ab");
  EXPECT_EQ(request.params.n, 3);
  EXPECT_EQ(request.params.request.max_tokens, 9);
  EXPECT_EQ(request.params.request.top_logprobs, 2);
  EXPECT_TRUE(request.params.request.ignore_eos);
  EXPECT_TRUE(request.params.stream && request.params.include_usage);
}

TEST(ChatRequest, DefaultsAreTheModels) {
  const ChatRequest request = Chat(R"(,"temperature":null,"max_tokens":null,"stop":null,"seed":-1)");
  EXPECT_EQ(request.params.request.sampling.temperature, 0.6f);
  EXPECT_EQ(request.params.request.max_tokens, -1);
  EXPECT_EQ(request.params.request.top_logprobs, -1);
  EXPECT_FALSE(request.params.request.sampling.seed);
  EXPECT_FALSE(request.params.stream);
}

TEST(ChatRequest, ReadsContextPolicyAndScheduling) {
  const ChatRequest request = Chat(R"(,"context_policy":"rounds=5","priority":-100,"timeout":0.25,"user":"ada")");
  EXPECT_EQ(request.params.context_policy->Name(), "rounds=5");
  EXPECT_EQ(request.params.request.priority, -100);
  EXPECT_EQ(request.params.request.deadline, std::chrono::milliseconds(250));
  EXPECT_EQ(request.params.request.client, "ada");
  const ChatRequest plain = Chat(R"(,"context_policy":null,"priority":null,"timeout":null,"user":"")");
  EXPECT_FALSE(plain.params.context_policy);
  EXPECT_EQ(plain.params.request.priority, 0);
  EXPECT_FALSE(plain.params.request.deadline);
  EXPECT_EQ(plain.params.request.client, "");
}

TEST(ChatRequest, NamesTheFieldWhatItExpectsAndWhatItFound) {
  EXPECT_EQ(FieldError(R"("temperature":"hot")").message,
            "'temperature': expected a number from 0 to 10, found the string \"hot\"");
  EXPECT_EQ(FieldError(R"("temperature":-1)").param, "temperature");
  EXPECT_EQ(FieldError(R"("top_p":1.5)").param, "top_p");
  EXPECT_EQ(FieldError(R"("n":9)").message, "'n': expected an integer from 1 to 8, found the number 9");
  EXPECT_EQ(FieldError(R"("n":1.5)").param, "n");
  EXPECT_EQ(FieldError(R"("max_tokens":0)").param, "max_tokens");
  EXPECT_EQ(FieldError(R"("stream":"yes")").param, "stream");
  EXPECT_EQ(FieldError(R"("stop":["a",1])").param, "stop");
  EXPECT_EQ(FieldError(R"("stop":["","","","","","","","","","","","","","","","",""])").param, "stop");
  EXPECT_EQ(FieldError(R"("logit_bias":{"1000":1})").param, "logit_bias");
  EXPECT_EQ(FieldError(R"("logit_bias":{"5":101})").param, "logit_bias.5");
  EXPECT_EQ(FieldError(R"("seed":"x")").param, "seed");
  EXPECT_EQ(FieldError(R"("top_logprobs":2)").param, "top_logprobs");
  EXPECT_EQ(FieldError(R"("stream_options":{"include_usage":1})").param, "stream_options.include_usage");
  EXPECT_EQ(FieldError(R"("tools":{})").param, "tools");
  EXPECT_EQ(FieldError(R"("tools":[{"type":"function","function":{}}])").param, "tools[0].function.name");
  EXPECT_EQ(FieldError(R"("context_policy":"drop")").message,
            "'context_policy': expected reject, window or rounds=N with N of at least 1, found \"drop\"");
  EXPECT_EQ(FieldError(R"("context_policy":5)").param, "context_policy");
  EXPECT_EQ(FieldError(R"("priority":101)").message,
            "'priority': expected an integer from -100 to 100, found the number 101");
  EXPECT_EQ(FieldError(R"("priority":1.5)").param, "priority");
  EXPECT_EQ(FieldError(R"("timeout":0)").param, "timeout");
  EXPECT_EQ(FieldError(R"("timeout":"10s")").param, "timeout");
  EXPECT_EQ(FieldError(R"("user":5)").param, "user");
  EXPECT_EQ(FieldError(R"("user":")" + std::string(513, 'u') + R"(")").param, "user");
  EXPECT_EQ(FieldError(R"("tool_choice":"required")").code, "unsupported");
  EXPECT_EQ(FieldError(R"("tool_choice":{"type":"function","function":{"name":"f"}})").code, "unsupported");
  EXPECT_EQ(FieldError(R"("response_format":{"type":"json_object"})").code, "unsupported");
  EXPECT_EQ(ChatError("{").code, "invalid_json");
  EXPECT_EQ(ChatError("[1]").code, "invalid_json");
  EXPECT_EQ(ChatError("{\"messages\":[\"\xFF\"]}").code, "invalid_json");
  EXPECT_EQ(ChatError("{}").param, "messages");
  EXPECT_EQ(ChatError(R"({"messages":[]})").param, "messages");
  EXPECT_EQ(ChatError(R"({"messages":[{"role":"robot","content":""}]})").param, "messages[0].role");
  EXPECT_EQ(ChatError(R"({"messages":[{"content":""}]})").param, "messages[0].role");
  EXPECT_EQ(ChatError(R"({"messages":[{"role":"user","content":5}]})").param, "messages[0].content");
  EXPECT_EQ(
      ChatError(R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]})").code,
      "unsupported_content");
  EXPECT_EQ(ChatError(R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}]})")
                .param,
            "messages[0].tool_calls[0].function.arguments");
}

TEST(ChatRequest, ReadsMessages) {
  ChatRequest request;
  const auto error = ParseChatRequest(R"({"messages":[
    {"role":"developer","content":[{"type":"text","text":"be "},{"type":"text","text":"kind"}]},
    {"role":"user","content":"\u4f60\ud83d\ude00"},
    {"role":"assistant","content":null,"reasoning":"hm","tool_calls":[
      {"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}},
      {"id":"c2","type":"function","function":{"name":"g","arguments":{"b":0.7}}}]},
    {"role":"tool","tool_call_id":"c1","content":"ok"}],
    "tools":[{"type":"function","function":{"name":"f"}}],"chat_template_kwargs":{"enable_thinking":false,"x":1}})",
                                      kFacts, &request);
  ASSERT_FALSE(error) << error->message;
  const auto& messages = request.prompt.messages;
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[0].content, "be \nkind");
  EXPECT_EQ(messages[1].content, "\xE4\xBD\xA0\xF0\x9F\x98\x80");
  EXPECT_EQ(messages[2].content, "");
  EXPECT_EQ(messages[2].reasoning_content, "hm");
  EXPECT_EQ(messages[2].tool_calls[0].arguments, "{\"a\": 1}");
  EXPECT_EQ(messages[2].tool_calls[1].arguments, "{\"b\":0.7}");
  EXPECT_EQ(messages[3].tool_call_id, "c1");
  EXPECT_TRUE(request.parse_tools);
  EXPECT_EQ(request.prompt.enable_thinking, false);
  EXPECT_TRUE(request.prompt.extra.contains("x"));
  EXPECT_FALSE(request.prompt.extra.contains("enable_thinking"));
}

TEST(ChatRequest, RefusesFieldsThatWouldDoNothing) {
  for (const std::string field : {R"("guided_json":{"type":"object"})",
                                  R"("structured_outputs":{"json":{"type":"object"}})",
                                  R"("guided_choice":["red","blue"])",
                                  R"("chat_template":"X")",
                                  R"("use_beam_search":true)",
                                  R"("length_penalty":1.2)",
                                  R"("mirostat":2)",
                                  R"("dry_multiplier":0.8)",
                                  R"("xtc_probability":0.5)",
                                  R"("top_n_sigma":1)",
                                  R"("bad_words":["a"])",
                                  R"("allowed_token_ids":[1])",
                                  R"("prompt_logprobs":1)",
                                  R"("include_stop_str_in_output":true)",
                                  R"("truncate_prompt_tokens":5)",
                                  R"("echo":true)",
                                  R"("documents":[{"text":"a"}])",
                                  R"("modalities":["text","audio"])",
                                  R"("verbosity":"low")",
                                  R"("reasoning_effort":"high")",
                                  R"("n_probs":3)",
                                  R"("samplers":["top_k"])",
                                  R"("lora":[{"id":0}])"}) {
    const ApiError error = FieldError(field);
    EXPECT_EQ(error.status, 400) << field;
    EXPECT_EQ(error.code, "unsupported") << field;
    EXPECT_EQ(error.param, field.substr(1, field.find('"', 1) - 1)) << error.message;
  }
}

TEST(ChatRequest, TakesTheirNeutralValuesAndWhatNobodyDefines) {
  Chat(R"(,"guided_json":null,"grammar":"","use_beam_search":false,"length_penalty":1.0,"mirostat":0,"bad_words":[],
       "dry_multiplier":0.0,"top_n_sigma":-1.0,"modalities":["text"],"reasoning_effort":"medium","n_probs":0,
       "store":true,"metadata":{"a":"b"},"service_tier":"auto","cache_prompt":true,"id_slot":3,"new_field":[{}])");
  EXPECT_EQ(Chat(R"(,"reasoning_effort":"none")").prompt.enable_thinking, false);
}

TEST(ChatRequest, ReadsWhatEndsAnAnswer) {
  const ChatRequest request =
      Chat(R"(,"stop_token_ids":[28,29],"min_tokens":11,"max_tokens":12,"skip_special_tokens":false)");
  ASSERT_EQ(request.params.request.stop_tokens.size(), 2u);
  EXPECT_EQ(request.params.request.stop_tokens[0], 28);
  EXPECT_EQ(request.params.request.min_tokens, 11);
  EXPECT_TRUE(request.params.request.keep_special);
  EXPECT_FALSE(Chat(R"(,"parallel_tool_calls":false)").parallel_tool_calls);
  EXPECT_EQ(FieldError(R"("min_tokens":13,"max_tokens":12)").param, "min_tokens");
  EXPECT_EQ(FieldError(R"("stop_token_ids":[1000])").param, "stop_token_ids");
  EXPECT_EQ(FieldError(R"("parallel_tool_calls":"no")").param, "parallel_tool_calls");
}

std::string TwoTurns(const std::string& last, const std::string& fields) {
  return R"({"messages":[{"role":"user","content":"Name three."},)" + last + "]," + fields + "}";
}

TEST(ChatRequest, GoesOnWithTheFinalMessage) {
  const std::string answer = R"({"role":"assistant","content":"1."})";
  for (const std::string fields :
       {R"("continue_final_message":true,"add_generation_prompt":false)", R"("continue_final_message":true)"}) {
    ChatRequest request;
    EXPECT_FALSE(ParseChatRequest(TwoTurns(answer, fields), kFacts, &request));
    EXPECT_TRUE(request.prompt.continue_final_message);
    EXPECT_FALSE(request.prompt.add_generation_prompt);
  }
  const std::string both = R"("continue_final_message":true,"add_generation_prompt":true)";
  EXPECT_EQ(ChatError(TwoTurns(answer, both)).param, "continue_final_message");
  const std::string go_on = R"("continue_final_message":true)";
  EXPECT_EQ(ChatError(TwoTurns(R"({"role":"user","content":"a"})", go_on)).param, "continue_final_message");
  EXPECT_EQ(ChatError(TwoTurns(R"({"role":"assistant","content":""})", go_on)).param, "continue_final_message");
}

std::string ContentOf(const std::string& json) {
  ChatRequest request;
  const auto error = ParseChatRequest(R"({"messages":[{"role":"user","content":)" + json + "}]}", kFacts, &request);
  EXPECT_FALSE(error) << error->message;
  return error ? "" : request.prompt.messages[0].content;
}

TEST(ChatRequest, HalfACharacterIsReplaced) {
  EXPECT_EQ(ContentOf(R"("cut \ud83d here")"), "cut � here");
  EXPECT_EQ(ContentOf(R"("\ude00 and \ud83d\ude00 and \ud83d\ud83d\ude00\ud83d")"), "� and 😀 and �😀�");
  EXPECT_EQ(ContentOf(R"("\ud83d \\ud83d")"), "� \\ud83d");
}

TEST(ChatRequest, TextPartsAreLines) {
  EXPECT_EQ(ContentOf(R"([{"type":"text","text":"Fix the bug."},{"type":"text","text":"File: a.py"}])"),
            "Fix the bug.\nFile: a.py");
  EXPECT_EQ(ContentOf(R"([{"type":"text","text":"one"}])"), "one");
}

TEST(ChatRequest, ErrorsOfSyntaxSayWhere) {
  const auto says = [](const std::string& body) { return ChatError(body).message; };
  EXPECT_TRUE(says("{\n  \"é\": oops}").ends_with("at line 2, column 8")) << says("{\n  \"é\": oops}");
  EXPECT_TRUE(says("{\"a\":1").ends_with("at line 1, column 7")) << says("{\"a\":1");
  EXPECT_TRUE(says("{} x").ends_with("at line 1, column 4")) << says("{} x");
  EXPECT_TRUE(says("{\"a\":\"\xff\"}").ends_with("at line 1, column 7")) << says("{\"a\":\"\xff\"}");
  EXPECT_EQ(ChatError(std::string(100, '[')).code, "invalid_json");
}

std::string Repeated(const std::string& item, size_t count) {
  std::string out = item;
  for (size_t i = 1; i < count; ++i) out += "," + item;
  return out;
}

TEST(Limits, ValuesAreCountedBeforeTheyAreKept) {
  const ApiError error = FieldError("\"x\":[" + Repeated("{}", 262'144) + "]");
  EXPECT_EQ(error.code, "request_limit");
  EXPECT_NE(error.message.find("262144"), std::string::npos);
  Chat(",\"x\":[" + Repeated("{}", 262'000) + "]");
  const std::string values = Repeated("{}", 32'768);
  EXPECT_EQ(FieldError("\"tools\":[{\"function\":{\"name\":\"f\",\"x\":[" + values + "]}}]").param, "tools");
  EXPECT_EQ(FieldError("\"chat_template_kwargs\":{\"x\":[" + values + "]}").param, "chat_template_kwargs");
  const std::string call = R"({"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":[)";
  EXPECT_EQ(ChatError(TwoTurns(call + values + "]}\"}}]}", "\"n\":1")).code, "request_limit");
}

TEST(Limits, ListsAndStringsAreNamedWithTheirLimit) {
  EXPECT_EQ(ChatError("{\"messages\":[" + Repeated(R"({"role":"user","content":"a"})", 8'193) + "]}").param,
            "messages");
  EXPECT_EQ(FieldError("\"tools\":[" + Repeated(R"({"function":{"name":"f"}})", 1'025) + "]").param, "tools");
  EXPECT_NE(FieldError("\"stop\":\"" + std::string(4'097, 'x') + "\"").message.find("4096"), std::string::npos);
  EXPECT_EQ(FieldError("\"stop_token_ids\":[" + Repeated("1", 257) + "]").param, "stop_token_ids");
}

TEST(Limits, WhatNeverFitsTheQueueIsNoMatterOfWaiting) {
  ModelFacts facts = kFacts;
  facts.max_requests = 6;
  CompletionRequest request;
  EXPECT_FALSE(ParseCompletionRequest(R"({"prompt":["a","b","c"],"n":2})", facts, &request));
  const auto error = ParseCompletionRequest(R"({"prompt":["a","b","c","d"],"n":2})", facts, &request);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->status, 400);
  EXPECT_NE(error->message.find("room for 6"), std::string::npos) << error->message;
  ChatRequest chat;
  EXPECT_TRUE(ParseChatRequest(R"({"messages":[{"role":"user","content":"a"}],"n":7})", facts, &chat));
}

TEST(ChatRequest, ToolChoiceNoneHidesTheTools) {
  const ChatRequest request = Chat(R"(,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none")");
  EXPECT_FALSE(request.parse_tools);
  EXPECT_TRUE(request.prompt.tools.is_null());
}

TEST(CompletionRequest, ReadsEveryFormOfPrompt) {
  const auto prompts = [](const std::string& prompt) {
    CompletionRequest request;
    const auto error = ParseCompletionRequest("{\"prompt\":" + prompt + "}", kFacts, &request);
    EXPECT_FALSE(error) << error->message;
    return request.prompts;
  };
  using Tokens = std::vector<int32_t>;
  EXPECT_EQ(prompts(R"("a")"), (std::vector<PromptInput>{"a"}));
  EXPECT_EQ(prompts(R"(["a","b"])"), (std::vector<PromptInput>{"a", "b"}));
  EXPECT_EQ(prompts("[1,2]"), (std::vector<PromptInput>{Tokens{1, 2}}));
  EXPECT_EQ(prompts("[[1],[2,3]]"), (std::vector<PromptInput>{Tokens{1}, Tokens{2, 3}}));
}

TEST(CompletionRequest, RefusesWhatItCannotDo) {
  const auto param = [](const std::string& body) {
    CompletionRequest request;
    const auto error = ParseCompletionRequest(body, kFacts, &request);
    return error ? error->param : "none";
  };
  EXPECT_EQ(param("{}"), "prompt");
  EXPECT_EQ(param(R"({"prompt":[]})"), "prompt");
  EXPECT_EQ(param(R"({"prompt":[1,1000]})"), "prompt");
  EXPECT_EQ(param(R"({"prompt":["a",1]})"), "prompt[1]");
  EXPECT_EQ(param(R"({"prompt":"a","echo":true,"logprobs":1})"), "logprobs");
  EXPECT_EQ(param(R"({"prompt":"a","suffix":"b"})"), "suffix");
  EXPECT_EQ(param(R"({"prompt":"a","best_of":3})"), "best_of");
  EXPECT_EQ(param(R"({"prompt":"a","suffix":null,"best_of":1,"echo":false,"logprobs":null})"), "none");
}

}  // namespace
}  // namespace inkstone

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <chrono>
#include <fstream>
#include <sstream>
#include <stop_token>
#include <thread>

#include "chat/chat_template_set.h"

namespace inkstone {
namespace {

namespace json = boost::json;

std::string ReadFile(const std::string& name) {
  std::ifstream file(std::string(INKSTONE_SOURCE_DIR) + "/tests/chat_templates/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Result<std::string> RenderText(const std::string& source, const json::object& variables = {},
                               const RenderLimits& limits = {}) {
  auto parsed = ChatTemplate::Parse(source, "t");
  if (!parsed.ok()) return parsed.status();
  return parsed->Render(variables, limits);
}

std::string Text(const json::object& object, const char* key) {
  const json::value* found = object.if_contains(key);
  return found != nullptr ? std::string(found->as_string()) : std::string();
}

ChatPrompt ToPrompt(const json::object& object) {
  ChatPrompt prompt;
  for (const json::value& item : object.at("messages").as_array()) {
    const json::object& m = item.as_object();
    ChatMessage message{.role = Text(m, "role"),
                        .content = Text(m, "content"),
                        .reasoning_content = Text(m, "reasoning_content"),
                        .tool_calls = {},
                        .tool_call_id = Text(m, "tool_call_id"),
                        .name = Text(m, "name")};
    if (const json::value* calls = m.if_contains("tool_calls")) {
      for (const json::value& call : calls->as_array()) {
        const json::object& function = call.at("function").as_object();
        message.tool_calls.push_back(
            {Text(call.as_object(), "id"), Text(function, "name"), Text(function, "arguments")});
      }
    }
    prompt.messages.push_back(std::move(message));
  }
  prompt.tools = object.at("tools");
  prompt.bos_token = Text(object, "bos_token");
  prompt.eos_token = Text(object, "eos_token");
  if (const json::value* thinking = object.if_contains("enable_thinking")) prompt.enable_thinking = thinking->as_bool();
  return prompt;
}

class Golden : public testing::Test {
 protected:
  const json::object golden_ = json::parse(ReadFile("golden.json")).as_object();
};

// Every snippet gives the text that Python's jinja2 gave when golden.json was written, or fails where it raised.
TEST_F(Golden, Snippets) {
  const json::object& variables = golden_.at("variables").as_object();
  const json::array& snippets = golden_.at("snippets").as_array();
  EXPECT_GT(snippets.size(), 1500u);
  for (const json::value& row : snippets) {
    const std::string source(row.at(0).as_string());
    const auto text = RenderText(source, variables);
    if (row.at(1).is_null()) {
      EXPECT_FALSE(text.ok()) << source;
    } else {
      ASSERT_TRUE(text.ok()) << source << "\n" << text.status().message();
      EXPECT_EQ(*text, row.at(1).as_string()) << source;
    }
  }
}

TEST_F(Golden, Prompts) {
  const json::array& prompts = golden_.at("prompts").as_array();
  for (const auto& [name, texts] : golden_.at("texts").as_object()) {
    const auto parsed = ChatTemplate::Parse(ReadFile("templates/" + std::string(name) + ".jinja"), name);
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    ASSERT_EQ(texts.as_array().size(), prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto text = parsed->Render(ToPrompt(prompts[i].as_object()));
      const json::value& expected = texts.at(i);
      ASSERT_EQ(text.ok(), !expected.is_null()) << name << " " << i << " " << text.status().message();
      if (!text.ok()) continue;
      EXPECT_EQ(*text, expected.as_string()) << name << " " << i;
    }
  }
}

TEST(ChatTemplate, PromptBecomesVariables) {
  const auto parsed = ChatTemplate::Parse(
      "{{ messages | tojson }}|{{ tools }}|{{ documents }}|{{ enable_thinking is defined }}|{{ x }}|{{ bos_token }}",
      "t");
  ASSERT_TRUE(parsed.ok());
  ChatPrompt prompt;
  prompt.messages.emplace_back();
  prompt.messages[0].role = "user";
  prompt.messages[0].content = "hi";
  ChatMessage call;
  call.role = "assistant";
  call.tool_calls.push_back({"c1", "f", "{\"b\": 1.50, \"a\": [true, null]}"});
  call.tool_calls.push_back({"", "g", "not json"});
  prompt.messages.push_back(call);
  prompt.extra = {{"x", 7}, {"bos_token", "replaced"}};
  prompt.bos_token = "<s>";
  const auto text = parsed->Render(prompt);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_EQ(
      *text,
      R"([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": [)"
      R"({"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"b": 1.5, "a": [true, null]}}}, )"
      R"({"type": "function", "function": {"name": "g", "arguments": "not json"}}]}])"
      "|None|None|False|7|replaced");
}

TEST(ChatTemplate, ClockOfThePrompt) {
  const auto parsed = ChatTemplate::Parse("{{ strftime_now('%Y') }}", "t");
  ASSERT_TRUE(parsed.ok());
  ChatPrompt prompt;
  prompt.now = 1'700'000'000;
  EXPECT_EQ(*parsed->Render(prompt), "2023");
}

// A slash may be escaped in JSON; what a caller wrote is marked as what it means.
TEST(ChatTemplate, ArgumentsAreMarkedAsTheyMean) {
  const auto parsed = ChatTemplate::Parse("{{ messages[0].tool_calls[0].function.arguments | tojson }}", "t");
  ASSERT_TRUE(parsed.ok());
  ChatPrompt prompt;
  prompt.messages = {{.role = "assistant"}};
  prompt.messages[0].tool_calls = {{"id", "f", R"({"q": ["<\/s>", "\u003c/s\u003e"]})"}};
  const TextMark mark = [](std::string_view text, TextSlot) { return "(" + std::string(text) + ")"; };
  EXPECT_EQ(*parsed->Render(prompt, {}, mark), R"x({"(q)": ["(</s>)", "(</s>)"]})x");
}

TEST(ChatTemplate, ErrorsNameThePlace) {
  const auto syntax = ChatTemplate::Parse("a\n  {% if x %}", "chat.jinja").status();
  EXPECT_EQ(syntax.code(), StatusCode::kDataLoss);
  EXPECT_EQ(syntax.message(), "chat.jinja: line 2, column 13: expected 'endif', found the end of the template");
  const auto runtime = RenderText("a\n{{ 1 +\n  x.y }}").status();
  EXPECT_EQ(runtime.code(), StatusCode::kDataLoss);
  EXPECT_EQ(runtime.message(), "t: line 3, column 4: 'x' is undefined");
  const auto raised = RenderText("{% if true %}{{ raise_exception('No ' ~ 1) }}{% endif %}").status();
  EXPECT_EQ(raised.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(raised.message(), "No 1");
}

TEST(ChatTemplate, IllFormedTextPassesThrough) {
  const json::object variables = {{"s",
                                   "a\xFF\xE4\xBD"
                                   "b\xC3"}};
  EXPECT_EQ(*RenderText("{{ s }}", variables),
            "a\xFF\xE4\xBD"
            "b\xC3");
  EXPECT_EQ(*RenderText("{{ s|length }}{{ s[::-1]|length }}{{ s[1:3]|length }}", variables), "662");
  EXPECT_TRUE(
      RenderText("{{ s|upper }}{{ s.split('b') }}{{ s|tojson }}{{ s|title }}{{ s.strip('\\xff') }}", variables).ok());
}

TEST(ChatTemplate, ThreadsShareATemplate) {
  const auto parsed = ChatTemplate::Parse("{% for i in range(200) %}{{ i ~ 'é' }}{% endfor %}", "t");
  ASSERT_TRUE(parsed.ok());
  const std::string expected = *parsed->Render(json::object{});
  std::vector<std::string> found(4);
  std::vector<std::thread> threads;
  for (std::string& text : found) threads.emplace_back([&] { text = *parsed->Render(json::object{}); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : found) EXPECT_EQ(text, expected);
}

TEST(ChatTemplate, DeepInputIsRefused) {
  json::value deep = 1;
  for (int i = 0; i < 2000; ++i) deep = json::array{std::move(deep)};
  EXPECT_FALSE(RenderText("{{ x }}", {{"x", std::move(deep)}}).ok());
}

class Hostile : public testing::TestWithParam<std::string> {};

// Each would run for ages, fill memory, or overflow the stack without a bound.
TEST_P(Hostile, EndsInAnErrorSoon) {
  const auto begin = std::chrono::steady_clock::now();
  const auto text = RenderText(GetParam(), {{"s", std::string(1 << 20, 'x')}});
  EXPECT_FALSE(text.ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

std::string Repeat(std::string_view text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

INSTANTIATE_TEST_SUITE_P(
    ChatTemplate, Hostile,
    testing::Values(
        "{{ 'a' * 1000000000000 }}", "{{ [1] * 100000000 }}", "{{ 'ab' * 9223372036854775807 }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "{{ range(100001) }}",
        "{% set ns = namespace(x='a') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}",
        "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for i in range(100000) %}{{ s.replace('x', 'yy') }}{% endfor %}",
        "{% for i in range(100000) %}{% set q = s.islower() ~ s|wordcount ~ s.strip('abcdefghijklmnopx') %}{% endfor "
        "%}",
        "{% set z = '9' * 1000000 %}{% for i in range(100000) %}{% set q = z|float %}{% endfor %}",
        "{% set z = 'ab' * 500000 ~ 'x' %}{% for i in range(1000) %}{% set q = s.strip(z) %}{% endfor %}",
        "{% for i in range(100000) %}{{ s|upper|lower|title|length }}{% endfor %}", "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}", "{{ 'a'.center(10000000000) }}", "{{ 'a'|indent(10000000000) }}",
        "{{ 10 ** 1000 }}", "{{ s.replace('', s) }}", "{{ s|list|map('list')|list|tojson }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "{{ [s] | map('replace', '', s) | list }}",
        "{{ [[1]]|tojson(indent=100000000) }}",
        "{% set l = range(100000)|list %}{{ l in [l|list, l|list] and l * 1000 }}", "{{ ([s] * 1000) | join }}",
        "{{ ([s] * 100)|string }}", "{{ " + Repeat("(", 100000), "{{ " + Repeat("[", 5000) + Repeat("]", 5000) + " }}",
        "{{ " + Repeat("1+", 50000) + "1 }}", "{{ " + Repeat("not ", 50000) + "1 }}",
        "{{ " + Repeat("-", 50000) + "1 }}", "{{ x" + Repeat(".y", 50000) + " }}",
        "{{ 1" + Repeat("|abs", 50000) + " }}", Repeat("{% if 1 %}", 5000) + Repeat("{% endif %}", 5000),
        "{{ x" + Repeat("[x", 5000) + Repeat("]", 5000) + " }}", "{{ 1" + Repeat(" if 1 else 1", 50000) + " }}",
        std::string(1 << 20, 'x')));

TEST(ChatTemplate, LimitsAreTheCallers) {
  EXPECT_EQ(RenderText("{% for i in range(1000) %}{% endfor %}", {}, {.max_steps = 500}).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(RenderText("{{ 'ab' * 1000 }}", {}, {.max_output_bytes = 1500}).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(RenderText("{{ [[[[[[1]]]]]] }}", {}, {.max_depth = 4}).status().code(), StatusCode::kResourceExhausted);
}

TEST(ChatTemplate, SearchesAreLinear) {
  const std::string a(1 << 20, 'a');
  const std::string needle = std::string(1 << 19, 'a') + "b" + std::string(1 << 18, 'a');
  const auto begin = std::chrono::steady_clock::now();
  const auto text = RenderText(
      "{{ s.find(n) }} {{ s.rfind(n) }} {{ s.count(n) }} {{ n in s }} {{ s.replace(n, '')|length }} "
      "{{ s.split(n)|length }} {{ s.rsplit(n)|length }} {{ s.partition(n)[1] }}{{ s.rpartition(n)[1] }}",
      {{"s", a}, {"n", needle}});
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_EQ(*text, "-1 -1 0 False 1048576 1 1 ");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(*RenderText("{{ 'abab'.rfind('ab') }}{{ 'aaa'.rfind('') }}{{ 'xabaabab'.rfind('aba') }}"), "234");
}

TEST(ChatTemplate, RenderingStops) {
  std::stop_source stop;
  stop.request_stop();
  RenderLimits limits;
  limits.stop = stop.get_token();
  EXPECT_EQ(RenderText("{{ 1 }}", {}, limits).status().code(), StatusCode::kCancelled);
}

ChatPrompt NullContentCall() {
  ChatPrompt prompt;
  prompt.messages.resize(1);
  prompt.messages[0].role = "assistant";
  prompt.messages[0].content_is_null = true;
  prompt.messages[0].tool_calls.push_back({"c1", "ls", R"({"path": "/tmp"})"});
  return prompt;
}

std::string RenderCall(const std::string& source) {
  const auto parsed = ChatTemplate::Parse("{% for m in messages %}" + source + "{% endfor %}", "t");
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  const auto text = parsed->Render(NullContentCall());
  return text.ok() ? *text : text.status().message();
}

TEST(ChatTemplate, NullContentIsNoneWhereTheTemplateCanTakeIt) {
  EXPECT_EQ(RenderCall("{% if m.content is none %}CALL{% else %}[{{ m.content }}]{% endif %}"), "CALL");
  EXPECT_EQ(RenderCall("[{{ m.role + m.content }}]"), "[assistant]");  // none can't be added
  EXPECT_EQ(RenderCall("[{{ m.content }}]"), "[]");                    // "None" would be shown
  EXPECT_EQ(RenderCall("{{ m.content | tojson }}"), "null");
}

TEST(ChatTemplate, ArgumentsAreWhatTheTemplateCanTake) {
  const std::string call = "m.tool_calls[0].function.arguments";
  const std::string with = "{% if m.tool_calls %}";
  EXPECT_EQ(RenderCall(with + "{{ " + call + " | tojson }}{% endif %}"), R"({"path": "/tmp"})");
  EXPECT_EQ(RenderCall(with + "{{ 'x' + " + call + " }}{% endif %}"), R"(x{"path": "/tmp"})");
  EXPECT_EQ(RenderCall(with + "{{ " + call + " }}{% endif %}"), R"({"path": "/tmp"})");
  EXPECT_EQ(RenderCall(with + "{% for k, v in " + call + ".items() %}{{ k }}={{ v }}{% endfor %}{% endif %}"),
            "path=/tmp");
}

TEST(ChatTemplateSet, ToolsChooseTheirOwn) {
  const auto set = ChatTemplateSet::Parse(
      {{"default", "D:{{ messages[0].content }}"}, {"tool_use", "T:{{ messages[0].content }} {{ tools|length }}"}});
  ASSERT_TRUE(set.ok()) << set.status().message();
  ChatPrompt prompt;
  prompt.messages.resize(1);
  prompt.messages[0].content = "Q";
  EXPECT_EQ(*set->Render(prompt), "D:Q");
  prompt.tools = json::array{1};
  EXPECT_EQ(*set->Render(prompt), "T:Q 1");
  EXPECT_EQ(ChatTemplateSet::Parse({}).status().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(*ChatTemplateSet::Parse({{"rag", "R"}})->Render(prompt), "R");
  const auto none = ChatTemplateSet::Parse({{"a", "x"}, {"b", "y"}});
  EXPECT_EQ(none.status().message(), "the model's chat templates: expected one named \"default\", found a, b");
}

TEST(ChatTemplateSet, LivesInMetadata) {
  const ChatTemplateSources sources = {{"default", "D"}, {"tool_use", "T"}, {"rag", "R"}};
  Metadata metadata("test");
  ExportTemplates(sources, &metadata);
  const auto found = TemplatesOfMetadata(metadata);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(*found, sources);
  EXPECT_EQ(*metadata.GetString("tokenizer.chat_template"), "D");
}

}  // namespace
}  // namespace inkstone

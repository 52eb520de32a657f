// From a server's bytes to an answer or a failure.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "loadgen/answer_parser.h"
#include "loadgen/response_reader.h"
#include "loadgen/sse_parser.h"
#include "loadgen/testing/script_server.h"

namespace inkstone::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Events(std::string_view bytes, size_t step) {
  SseParser parser;
  std::vector<std::string> events;
  const auto sink = [&](std::string_view data) { events.emplace_back(data); };
  for (size_t i = 0; i < bytes.size(); i += step) EXPECT_TRUE(parser.Push(bytes.substr(i, step), sink));
  parser.Finish(sink);
  return events;
}

TEST(SseParser, ReadsEventsHoweverTheyAreCut) {
  const std::string bytes =
      ": comment\n\ndata: one\r\n\r\nevent: x\nid: 7\ndata:two\ndata:  three\n\n\n\ndata\n\nretry: 5\r\rdata: last\nda";
  for (const size_t step : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, bytes.size()}) {
    EXPECT_THAT(Events(bytes, step), ElementsAre("one", "two\n three", "", "last")) << step;
  }
}

TEST(SseParser, RefusesEndlessLinesAndEvents) {
  const auto ignore = [](std::string_view) {};
  const std::string part(SseParser::kMaxEvent / 4, 'x');
  SseParser line;
  EXPECT_TRUE(line.Push("data: ", ignore));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(line.Push(part, ignore));
  EXPECT_FALSE(line.Push(part, ignore));
  SseParser event;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(event.Push("data:" + part + "\n", ignore));
  EXPECT_FALSE(event.Push("data:" + part + "\n", ignore));
}

TEST(AnswerParser, CountsWhatCarriesTheAnswer) {
  AnswerParser parser(Endpoint::kChat);
  EXPECT_FALSE(parser.OnEvent(R"({"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]})"));
  EXPECT_FALSE(parser.OnEvent(R"({"choices":[{"delta":{"role":"assistant","content":null}}]})"));
  EXPECT_TRUE(parser.OnEvent(R"({"choices":[{"delta":{"content":"a"}}],"usage":null})"));
  EXPECT_TRUE(parser.OnEvent(R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})"));
  EXPECT_TRUE(parser.OnEvent(R"({"choices":[{"delta":{"reasoning":"hm"}}]})"));
  EXPECT_TRUE(parser.OnEvent(R"({"choices":[{"delta":{"tool_calls":[{"index":0}]}}]})"));
  EXPECT_FALSE(parser.finished());
  EXPECT_FALSE(parser.OnEvent(R"({"choices":[{"delta":{},"finish_reason":"stop"}]})"));
  EXPECT_TRUE(parser.finished());
  EXPECT_FALSE(parser.OnEvent(R"({"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,)"
                              R"("prompt_tokens_details":{"cached_tokens":4}}})"));
  ASSERT_TRUE(parser.usage());
  EXPECT_EQ(parser.usage()->prompt, 7);
  EXPECT_EQ(parser.usage()->completion, 3);
  EXPECT_EQ(parser.usage()->cached, 4);
  EXPECT_FALSE(parser.done());
  parser.OnEvent("[DONE]");
  EXPECT_TRUE(parser.done());
  EXPECT_FALSE(parser.failure());
}

TEST(AnswerParser, ReadsCompletions) {
  AnswerParser parser(Endpoint::kCompletions);
  EXPECT_TRUE(parser.OnEvent(R"({"choices":[{"text":"a","finish_reason":null}]})"));
  EXPECT_FALSE(parser.OnEvent(R"({"choices":[{"text":"","finish_reason":"length"}]})"));
  EXPECT_TRUE(parser.finished());
}

std::string KindOf(const std::string& event, Endpoint endpoint = Endpoint::kChat) {
  AnswerParser parser(endpoint);
  EXPECT_FALSE(parser.OnEvent(event)) << event;
  return parser.failure() ? parser.failure()->kind : "none";
}

TEST(AnswerParser, NamesWhatIsWrong) {
  for (const char* event : {"", "{", "[]", "7", "{}", R"({"choices":7})", R"({"choices":[7]})", R"({"choices":[{}]})",
                            R"({"choices":[{"delta":[]}]})", R"({"choices":[],"usage":{"prompt_tokens":-1}})",
                            R"({"choices":[],"usage":{"prompt_tokens":1e300}})",
                            R"({"choices":[],"usage":{"prompt_tokens":"7"}})", R"({"choices":[],"usage":[]})"}) {
    EXPECT_EQ(KindOf(event), "malformed") << event;
  }
  EXPECT_EQ(KindOf(std::string(2000, '[')), "malformed");
  EXPECT_EQ(KindOf(R"({"choices":[{"delta":{"content":"a"}}]})", Endpoint::kCompletions), "malformed");
  EXPECT_EQ(KindOf(R"({"error":{"message":"the weights fell off"}})"), "error event");
  EXPECT_EQ(KindOf(R"({"object":"error","message":"no"})"), "error event");
}

TEST(AnswerParser, FindsTheMessageOfAnError) {
  EXPECT_EQ(ErrorMessage(R"({"error":{"message":"full","code":1}})"), "full");
  EXPECT_EQ(ErrorMessage(R"({"error":"full"})"), "full");
  EXPECT_EQ(ErrorMessage(R"({"object":"error","message":"full"})"), "full");
  EXPECT_EQ(ErrorMessage(R"({"detail":[1]})"), R"({"detail":[1]})");
  EXPECT_EQ(ErrorMessage("<h1>Bad\nGateway</h1>"), "<h1>Bad Gateway</h1>");
  EXPECT_EQ(ErrorMessage(std::string(1000, 'x')).size(), 303u);
}

struct Outcome {
  int pieces = 0;
  int status = 0;
  double retry_after = 0;
  bool done_before_end = false;
  std::string kind = "none";
  std::string message;
};

Outcome Read(const std::string& bytes, size_t step) {
  ResponseReader reader(Endpoint::kChat);
  Outcome out;
  for (size_t i = 0; i < bytes.size(); i += step) out.pieces += reader.Push(std::string_view(bytes).substr(i, step));
  out.done_before_end = reader.done();
  reader.PushEnd();
  EXPECT_TRUE(reader.done());
  out.status = reader.status();
  out.retry_after = reader.retry_after();
  if (reader.failure()) {
    out.kind = reader.failure()->kind;
    out.message = reader.failure()->message;
  }
  return out;
}

std::string Chunked(const std::string& body) {
  std::string out =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
      "Transfer-Encoding: chunked\r\n\r\n";
  for (size_t i = 0; i < body.size(); i += 5) {  // cuts through lines
    const std::string part = body.substr(i, 5);
    out += std::to_string(part.size()) + "\r\n" + part + "\r\n";
  }
  return out + "0\r\n\r\n";
}

TEST(ResponseReader, ReadsStreamsHoweverTheyAreCut) {
  const std::string body = Piece("a") + ": ping\n\n" + Piece("b") + Finish() + UsageEvent(3, 2) + Done();
  for (const std::string& bytes : {Chunked(body), StreamHead() + body}) {
    for (const size_t step : {size_t{1}, size_t{3}, size_t{64}, bytes.size()}) {
      const Outcome out = Read(bytes, step);
      EXPECT_EQ(out.kind, "none") << out.message;
      EXPECT_EQ(out.pieces, 2);
      EXPECT_TRUE(out.done_before_end);
    }
  }
}

TEST(ResponseReader, TakesAStreamThatEndsWithoutDone) {
  EXPECT_EQ(Read(StreamHead() + Piece("a") + Finish(), 7).kind, "none");
  EXPECT_EQ(Read(Chunked(Piece("a") + Finish()), 7).kind, "none");
}

TEST(ResponseReader, NamesWhatIsWrong) {
  const std::string whole = Chunked(Piece("a") + Piece("b") + Finish() + Done());
  EXPECT_EQ(Read("", 1).kind, "closed early");
  EXPECT_EQ(Read("HTTP/1.1 200 OK\r\nConte", 1).kind, "closed early");
  EXPECT_EQ(Read(whole.substr(0, whole.size() / 2), 9).kind, "closed early");
  EXPECT_EQ(Read(StreamHead() + Piece("a"), 9).kind, "closed early");
  EXPECT_EQ(Read("SSH-2.0-OpenSSH_9.2\r\n\r\n", 9).kind, "malformed");
  EXPECT_EQ(Read(StreamHead() + "data: garbage\n\n", 9).kind, "malformed");
  EXPECT_EQ(
      Read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\nzz\r\n", 1).kind,
      "malformed");
  EXPECT_EQ(Read("HTTP/1.1 200 OK\r\nX: " + std::string(1 << 17, 'x'), 4096).kind, "malformed");
  EXPECT_EQ(Read(StreamHead() + "data: " + std::string((1 << 20) + 1, 'x'), 65536).kind, "too long");
  EXPECT_EQ(Read(StreamHead() + "data: {\"error\":\"no\"}\n\n", 9).kind, "error event");
  const Outcome page = Read("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<hi>", 9);
  EXPECT_EQ(page.kind, "no stream");
  EXPECT_THAT(page.message, HasSubstr("text/html"));
  EXPECT_THAT(page.message, HasSubstr("<hi>"));
}

TEST(ResponseReader, ReadsRefusals) {
  const std::string body = R"({"error":{"message":"the queue is full"}})";
  const std::string bytes =
      "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: " + std::to_string(body.size()) +
      "\r\n\r\n" + body;
  const Outcome out = Read(bytes, 5);
  EXPECT_EQ(out.kind, "http 429");
  EXPECT_EQ(out.message, "the queue is full");
  EXPECT_EQ(out.retry_after, 3);
  EXPECT_TRUE(out.done_before_end);
  EXPECT_EQ(Read("HTTP/1.1 500 Oh\r\n\r\n" + std::string(1 << 20, 'x'), 4096).kind, "http 500");
}

}  // namespace
}  // namespace inkstone::testing

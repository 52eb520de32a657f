// The connection: framing, limits, disconnects, drain.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/testing/running_server.h"

namespace inkstone::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

const std::string kStream = R"(,"stream":true)";

FakeEngine::Answer Slowly(int pieces, milliseconds per_piece, milliseconds prefill = {}) {
  return [=](const GenerationRequest&, const std::string&) {
    Script script;
    script.pieces.assign(static_cast<size_t>(pieces), "word ");
    script.per_piece = per_piece;
    script.prefill = prefill;
    return script;
  };
}

TEST(Http, ReadsRequestsThatArriveByteByByte) {
  RunningServer server(Says({"ok"}));
  server.Start();
  TestClient client(server.port());
  for (const char c : RunningServer::Request("POST", "/v1/chat/completions", ChatBody("hi"))) {
    ASSERT_TRUE(client.Send(std::string_view(&c, 1)));
  }
  EXPECT_EQ(client.Receive().status, 200);
}

TEST(Http, KeepsConnectionsAndAnswersPipelinedRequestsInOrder) {
  RunningServer server(Says({"ok"}));
  server.Start();
  TestClient client(server.port());
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", kStream)) +
              RunningServer::Request("GET", "/health") + RunningServer::Request("GET", "/v1/models"));
  EXPECT_THAT(client.Receive().body, HasSubstr("[DONE]"));
  EXPECT_EQ(client.Receive().body, R"({"status":"ok"})");
  EXPECT_THAT(client.Receive().body, HasSubstr("fake-model"));
}

TEST(Http, KeepsARequestThatArrivesWhileAnotherIsAnswered) {
  RunningServer server(Slowly(5, milliseconds(20)));
  server.Start();
  TestClient client(server.port());
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", kStream)));
  ASSERT_TRUE(client.ReadUntil("word"));
  client.Send(RunningServer::Request("GET", "/health"));
  EXPECT_THAT(client.Receive().body, HasSubstr("[DONE]"));
  EXPECT_EQ(client.Receive().body, R"({"status":"ok"})");
}

TEST(Http, ServesHttp10WithoutChunks) {
  RunningServer server(Says({"ok"}));
  server.Start();
  const std::string body = ChatBody("hi", kStream);
  TestClient client(server.port());
  client.Send("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
              body);
  const auto response = client.Receive();
  EXPECT_FALSE(response.Has("chunked"));
  EXPECT_TRUE(response.Has("Connection: close"));
  EXPECT_TRUE(response.body.ends_with("data: [DONE]\n\n")) << response.body;
}

TEST(Http, AnswersExpectContinue) {
  RunningServer server(Says({"ok"}));
  server.Start();
  const std::string body = ChatBody("hi");
  TestClient client(server.port());
  client.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 100);
  client.Send(body);
  EXPECT_EQ(client.Receive().status, 200);
}

TEST(Http, RefusesWhatIsTooLargeOrNoHttp) {
  HttpLimits limits;
  limits.body_bytes = 1000;
  limits.header_bytes = 2000;
  RunningServer server(Says({"ok"}), limits);
  server.Start();
  const auto large = server.Ask("POST", "/v1/chat/completions", std::string(1001, 'x'));
  EXPECT_EQ(large.status, 413);
  EXPECT_THAT(large.body, HasSubstr("1000 bytes"));
  EXPECT_EQ(server.Ask("GET", "/health", "", "X-Long: " + std::string(3000, 'x') + "\r\n").status, 431);
  TestClient client(server.port());
  client.Send("\x16\x03\x01 this is TLS\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 400);
  EXPECT_TRUE(client.WaitClosed());
  EXPECT_EQ(server.Ask("GET", "/health").status, 200);
}

TEST(Http, TimesOutOnSlowRequests) {
  HttpLimits limits;
  limits.header_timeout = milliseconds(100);
  limits.body_timeout = milliseconds(100);
  limits.idle_timeout = milliseconds(100);
  RunningServer server(Says({"ok"}), limits);
  server.Start();
  TestClient silent(server.port());
  EXPECT_TRUE(silent.WaitClosed());
  TestClient half(server.port());
  half.Send("GET /health HT");
  EXPECT_EQ(half.Receive().status, 408);
  TestClient body(server.port());
  body.Send("POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nab");
  EXPECT_EQ(body.Receive().status, 408);
  TestClient idle(server.port());
  idle.Send(RunningServer::Request("GET", "/health"));
  EXPECT_EQ(idle.Receive().status, 200);
  EXPECT_TRUE(idle.WaitClosed());
}

TEST(Http, LimitsConnections) {
  HttpLimits limits;
  limits.connections = 2;
  RunningServer server(Says({"ok"}), limits);
  server.Start();
  TestClient first(server.port());
  TestClient second(server.port());
  first.Send(RunningServer::Request("GET", "/health"));
  second.Send(RunningServer::Request("GET", "/health"));
  EXPECT_EQ(first.Receive().status, 200);
  EXPECT_EQ(second.Receive().status, 200);
  TestClient third(server.port());
  const auto refused = third.Receive();
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.Has("Retry-After"));
}

TEST(Http, ConnectionsThatAskNothingMakeRoom) {
  HttpLimits limits;
  limits.connections = 3;
  limits.yield_after = milliseconds(50);
  RunningServer server(Slowly(1000, milliseconds(20)), limits);
  server.Start();
  TestClient busy(server.port());
  busy.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", kStream)));
  ASSERT_TRUE(busy.ReadUntil("word"));
  TestClient half(server.port());
  half.Send("GET /health HT");
  std::this_thread::sleep_for(milliseconds(80));
  TestClient young(server.port());  // has just come, and stays
  young.Send("GET /health");
  std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(server.Ask("GET", "/health").status, 200);
  EXPECT_TRUE(half.WaitClosed());
  TestClient third(server.port());
  third.Send("GET");
  EXPECT_EQ(server.Ask("GET", "/health").status, 503) << "nobody has waited long enough to make room";
  young.Send(" HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(young.Receive().status, 200);
  EXPECT_TRUE(busy.ReadUntil("word"));
}

TEST(Http, ADisconnectCancelsTheGeneration) {
  RunningServer server(Slowly(1000, milliseconds(10)));
  server.Start();
  TestClient client(server.port());
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", kStream)));
  ASSERT_TRUE(client.ReadUntil("word"));
  client.Close();
  EXPECT_TRUE(server.session.engine().WaitCancelled(1, milliseconds(3000)));
}

TEST(Http, ADisconnectBeforeTheFirstTokenCancelsEveryChoice) {
  RunningServer server(Slowly(1, {}, milliseconds(30'000)));
  server.Start();
  TestClient client(server.port());
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", R"(,"n":2)")));
  while (server.session.engine().requests().size() < 2) std::this_thread::sleep_for(milliseconds(5));
  client.Close();
  EXPECT_TRUE(server.session.engine().WaitCancelled(2, milliseconds(3000)));
}

// Its end lies behind bytes that are not read while the answer is made.
TEST(Http, ADisconnectBehindPipelinedBytesCancels) {
  for (const char* fields : {"", R"(,"stream":true)"}) {
    RunningServer server(Slowly(1, {}, milliseconds(30'000)));
    server.Start();
    TestClient client(server.port());
    client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", fields)) +
                RunningServer::Request("POST", "/generate", std::string(60'000, 'x')));
    while (server.session.engine().requests().empty()) std::this_thread::sleep_for(milliseconds(5));
    client.Close();
    EXPECT_TRUE(server.session.engine().WaitCancelled(1, milliseconds(4000))) << fields;
  }
}

TEST(Http, HalfClosedClientsGetTheirAnswer) {
  constexpr int kMore = 1000;  // requests behind it: more than is read ahead
  for (const char* fields : {"", R"(,"stream":true)"}) {
    RunningServer server(Slowly(3, milliseconds(10), milliseconds(1200)));
    server.Start();
    TestClient client(server.port());
    client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", fields)) +
                RunningServer::Request("GET", "/health"));
    for (int i = 0; i < kMore; ++i) client.Send(RunningServer::Request("GET", "/health"));
    client.HalfClose();
    const auto response = client.Receive();
    EXPECT_EQ(response.status, 200);
    EXPECT_TRUE(response.head.starts_with("HTTP/1.1 200 OK\r\n")) << response.head;
    EXPECT_THAT(response.body, HasSubstr("word"));
    for (int i = 0; i < 1 + kMore; ++i) ASSERT_EQ(client.Receive().body, R"({"status":"ok"})") << i;
    EXPECT_TRUE(client.WaitClosed());
    EXPECT_EQ(server.session.engine().stats().cancelled, 0);
  }
}

TEST(Http, AHalfClosedClientThatGoesLaterCancels) {
  RunningServer server(Slowly(1, {}, milliseconds(30'000)));
  server.Start();
  TestClient client(server.port());
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a")));
  client.HalfClose();
  std::this_thread::sleep_for(milliseconds(400));
  EXPECT_EQ(server.session.engine().stats().cancelled, 0);
  client.Close();
  EXPECT_TRUE(server.session.engine().WaitCancelled(1, milliseconds(4000)));
}

TEST(Http, RefusesFramingThatCanBeReadInTwoWays) {
  RunningServer server(Says({"ok"}));
  server.Start();
  const std::string host = "Host: localhost\r\n";
  const std::vector<std::pair<std::string, int>> cases = {
      {host + "Transfer-Encoding: gzip\r\n\r\n", 501},
      {host + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {host + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501},
      {host + "Transfer-Encoding: xchunked\r\n\r\n", 501},
      {host + "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", 400},
      {host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400},
      {host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
      {host + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", 400},
      {host + "Content-Length: +2\r\n\r\n{}", 400},
      {host + host + "Content-Length: 2\r\n\r\n{}", 400},
      {host + "Host: evil.example\r\nContent-Length: 2\r\n\r\n{}", 400},
      {"Host: user@localhost\r\nContent-Length: 2\r\n\r\n{}", 400},
      {"Host: user:secret@localhost:80\r\nContent-Length: 2\r\n\r\n{}", 400},
      {"Host: localhost:http\r\nContent-Length: 2\r\n\r\n{}", 400},
      {"Host: localhost, evil.example\r\nContent-Length: 2\r\n\r\n{}", 400},
      {"Host: localhost/x\r\nContent-Length: 2\r\n\r\n{}", 400},
      {"Content-Length: 2\r\n\r\n{}", 400},
      {host + "X-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", 400},
      {host + "X-Folded: a\r\n\tb\r\nContent-Length: 2\r\n\r\n{}", 400},
  };
  for (const auto& [head, status] : cases) {
    TestClient client(server.port());
    client.Send("POST /generate HTTP/1.1\r\n" + head);
    const auto response = client.Receive();
    EXPECT_EQ(response.status, status) << head;
    EXPECT_TRUE(response.Has("Connection: close")) << head;
    EXPECT_TRUE(client.WaitClosed()) << head;
  }
  TestClient old(server.port());
  old.Send("POST /generate HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
  EXPECT_EQ(old.Receive().status, 400);
}

TEST(Http, HeadersBehindABodyAreNone) {
  RunningServer server(Says({"ok"}));
  server.Start();
  const std::string body = R"({"prompt":"a"})";
  TestClient client(server.port());
  client.Send("POST /generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n" + body +
              "\r\n0\r\nOrigin: https://evil.example\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 200);
}

TEST(Http, DropsClientsThatDoNotRead) {
  HttpLimits limits;
  limits.output_bytes = 256 << 10;
  RunningServer server(
      [](const GenerationRequest&, const std::string&) {
        Script script;
        script.pieces.assign(2000, std::string(32 << 10, 'x'));
        return script;
      },
      limits);
  server.Start();
  TestClient client(server.port(), 4096);
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", kStream)));
  EXPECT_TRUE(server.session.engine().WaitCancelled(1, milliseconds(10'000)));
}

// What the server holds for a client that does not read is bounded, in the kernel too, and time is as well.
TEST(Http, DropsClientsThatReadNothingForLong) {
  HttpLimits limits;
  limits.output_bytes = 64 << 20;
  limits.write_timeout = milliseconds(150);
  RunningServer server(
      [](const GenerationRequest&, const std::string&) {
        Script script;
        script.pieces.assign(20, std::string(16 << 10, 'x'));
        return script;
      },
      limits);
  server.Start();
  TestClient client(server.port(), 4096);
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", kStream)));
  const auto begin = std::chrono::steady_clock::now();
  while (server.Ask("GET", "/metrics").body.find("inkstone_http_connections 1\n") == std::string::npos) {
    ASSERT_LT(std::chrono::steady_clock::now() - begin, milliseconds(4000)) << "the kernel took all of 320 KiB";
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_TRUE(client.WaitClosed());
  EXPECT_EQ(client.data().find("[DONE]"), std::string::npos);
  EXPECT_LT(client.data().size(), size_t{200} << 10);
}

TEST(Http, KeepsUpToALimitForSlowReaders) {
  HttpLimits limits;
  limits.output_bytes = 1 << 20;
  RunningServer server(
      [](const GenerationRequest&, const std::string&) {
        Script script;
        script.pieces.assign(20, std::string(16 << 10, 'x'));
        return script;
      },
      limits);
  server.Start();
  TestClient client(server.port(), 4096);
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", kStream)));
  while (!server.session.engine().Idle() || server.session.engine().requests().empty()) {
    std::this_thread::sleep_for(milliseconds(5));  // generated to its end, whatever the reader does
  }
  EXPECT_TRUE(client.Receive().body.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(server.session.engine().stats().cancelled, 0);
}

// As when a long prompt is echoed.
TEST(Http, OneEventMayBeLargerThanTheLimit) {
  HttpLimits limits;
  limits.output_bytes = 1 << 10;
  RunningServer server(Says({std::string(64 << 10, 'x'), "end"}, milliseconds(100)), limits);
  server.Start();
  const auto response = server.Ask("POST", "/v1/chat/completions", ChatBody("a", kStream));
  EXPECT_TRUE(response.body.ends_with("data: [DONE]\n\n"));
}

TEST(Http, PingsWhileThePromptIsProcessed) {
  HttpLimits limits;
  limits.ping_interval = milliseconds(20);
  RunningServer server(Slowly(1, {}, milliseconds(150)), limits);
  server.Start();
  const auto response = server.Ask("POST", "/v1/chat/completions", ChatBody("a", kStream));
  EXPECT_THAT(response.body, HasSubstr("\n\n: ping\n\n: ping\n\n"));
  EXPECT_THAT(response.body, HasSubstr("[DONE]"));
}

TEST(Http, DrainLetsAnswersFinish) {
  RunningServer server(Slowly(20, milliseconds(20)));
  server.Start();
  TestClient client(server.port());
  TestClient idle(server.port());
  idle.Send(RunningServer::Request("GET", "/health"));
  EXPECT_EQ(idle.Receive().status, 200);
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", kStream)));
  ASSERT_TRUE(client.ReadUntil("word"));
  server.server->Stop();
  std::this_thread::sleep_for(milliseconds(50));
  idle.Send(RunningServer::Request("GET", "/health"));
  EXPECT_EQ(idle.Receive().status, 503);
  EXPECT_FALSE(TestClient(server.port()).connected());
  EXPECT_TRUE(client.Receive().body.ends_with("data: [DONE]\n\n"));
  server.thread.join();
}

TEST(Http, DrainCancelsAfterTheGraceTime) {
  HttpLimits limits;
  limits.drain_grace = milliseconds(100);
  RunningServer server(Slowly(1000, milliseconds(50)), limits);
  server.Start();
  TestClient client(server.port());
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", kStream)));
  ASSERT_TRUE(client.ReadUntil("word"));
  TestClient whole(server.port());
  whole.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a")));
  while (server.session.engine().requests().size() < 2) std::this_thread::sleep_for(milliseconds(5));
  server.server->Stop();
  const auto stream = client.Receive();
  EXPECT_THAT(stream.body, HasSubstr(R"("message":"the server is shutting down; the answer is not complete")"));
  EXPECT_TRUE(stream.body.ends_with("data: [DONE]\n\n")) << stream.body;
  EXPECT_TRUE(client.WaitClosed());
  const auto error = whole.Receive();
  EXPECT_EQ(error.status, 503);
  EXPECT_TRUE(error.Has("Connection: close"));
  server.thread.join();
  EXPECT_TRUE(server.session.engine().WaitCancelled(2, milliseconds(1000)));
}

TEST(Http, TheEndOfTheGraceTimeWaitsForNobodyWhoDoesNotRead) {
  HttpLimits limits;
  limits.drain_grace = milliseconds(100);
  RunningServer server(
      [](const GenerationRequest&, const std::string&) {
        Script script;
        script.pieces.assign(1000, std::string(8 << 10, 'x'));
        script.per_piece = milliseconds(5);
        return script;
      },
      limits);
  server.Start();
  TestClient client(server.port(), 4096);
  client.Send(RunningServer::Request("POST", "/v1/chat/completions", ChatBody("a", kStream)));
  std::this_thread::sleep_for(milliseconds(300));
  const auto begin = std::chrono::steady_clock::now();
  server.server->Stop();
  server.thread.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(5000));
}

TEST(Http, AnswersWhereMemoryCannotBeHad) {
  RunningServer server(Says({"ok"}));
  server.options.assets = [](std::string_view) -> std::optional<Asset> { throw std::bad_alloc(); };
  server.Start();
  const auto response = server.Ask("GET", "/");
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("\"code\":\"memory_pressure\""));
  EXPECT_EQ(server.Ask("GET", "/health").status, 200);
}

TEST(Http, TellsWhatIsNotThere) {
  RunningServer server(Says({"ok"}));
  server.Start();
  EXPECT_EQ(server.Ask("GET", "/nothing").status, 404);
  const auto wrong = server.Ask("GET", "/v1/chat/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_TRUE(wrong.Has("Allow: POST, OPTIONS"));
  EXPECT_THAT(wrong.body, HasSubstr(R"({"error":{"message":)"));
  EXPECT_EQ(server.Ask("POST", "/").status, 405);
  const auto head = server.Ask("HEAD", "/health");
  EXPECT_EQ(head.status, 200);
  EXPECT_TRUE(head.Has("Content-Length: 15"));
}

TEST(Assets, ServesThePage) {
  RunningServer server(Says({"ok"}));
  server.options.assets = [](std::string_view path) -> std::optional<Asset> {
    if (path != "/assets/a.js") return std::nullopt;
    return Asset{
        .content_type = "text/javascript", .bytes = "plain", .gzip = "packed", .etag = "tag", .immutable = true};
  };
  server.Start();
  const auto plain = server.Ask("GET", "/assets/a.js");
  EXPECT_EQ(plain.body, "plain");
  EXPECT_TRUE(plain.Has("Content-Security-Policy: default-src 'self'"));
  EXPECT_TRUE(plain.Has("immutable"));
  const auto packed = server.Ask("GET", "/assets/a.js", "", "Accept-Encoding: br, gzip\r\n");
  EXPECT_EQ(packed.body, "packed");
  EXPECT_TRUE(packed.Has("Content-Encoding: gzip"));
  EXPECT_EQ(server.Ask("GET", "/assets/a.js", "", "If-None-Match: \"tag\"\r\n").status, 304);
  EXPECT_TRUE(EmbeddedAssets()("/").has_value());
}

TEST(Assets, NoAnswerIsShownInAFrame) {
  RunningServer server(Says({"ok"}));
  server.Start();
  for (const char* path : {"/", "/health", "/nothing", "/stream?q=a"}) {
    const auto response = server.Ask("GET", path);
    EXPECT_THAT(response.head, HasSubstr("frame-ancestors 'none'")) << path;
    EXPECT_THAT(response.head, HasSubstr("X-Frame-Options: DENY")) << path;
  }
  TestClient client(server.port());
  client.Send("nonsense\r\n\r\n");
  EXPECT_THAT(client.Receive().head, HasSubstr("frame-ancestors 'none'"));
}

TEST(Server, SaysThatAPortIsTaken) {
  RunningServer server(Says({"ok"}));
  server.Start();
  ServerOptions options;
  options.port = server.port();
  const auto second = Server::Create(server.session, options);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(second.status().message(), HasSubstr("choose another port"));
}

}  // namespace
}  // namespace inkstone::testing

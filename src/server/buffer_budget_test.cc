// What connections may hold together.
#include "server/buffer_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "server/testing/running_server.h"

namespace inkstone::testing {
namespace {

using ::testing::HasSubstr;

TEST(BufferBudget, SharesAreTakenAndGivenBack) {
  const auto budget = std::make_shared<BufferBudget>(100);
  BufferShare first(budget);
  EXPECT_TRUE(first.Resize(60));
  {
    BufferShare second(budget);
    EXPECT_FALSE(second.Resize(41));
    EXPECT_TRUE(second.Resize(40));
    EXPECT_FALSE(first.Resize(61));
    EXPECT_TRUE(first.Resize(50));
    EXPECT_EQ(budget->taken(), 90u);
    BufferShare moved = std::move(second);
    EXPECT_EQ(budget->taken(), 90u);
  }
  EXPECT_EQ(budget->taken(), 50u);
  EXPECT_TRUE(BufferShare().Resize(1000));
}

TEST(HttpLimits, AllThatConnectionsTakeIsBounded) {
  const HttpLimits limits;
  HttpLimits more = limits;
  ++more.connections;
  EXPECT_GT(limits.MostBytes(), limits.buffer_bytes);
  EXPECT_EQ(more.MostBytes() - limits.MostBytes(), 128u << 10);
}

TEST(BufferBudget, OneClientHasItsPart) {
  const auto budget = std::make_shared<BufferBudget>(100, 60);
  const auto ada = budget->ClientNamed("ada");
  EXPECT_EQ(ada, budget->ClientNamed("ada"));
  BufferShare first(budget, ada);
  BufferShare second(budget, ada);
  EXPECT_TRUE(first.Resize(40));
  EXPECT_FALSE(second.Resize(21));
  EXPECT_TRUE(second.ClientIsFull(21));
  EXPECT_TRUE(second.Resize(20));
  BufferShare other(budget, budget->ClientNamed("bob"));
  EXPECT_FALSE(other.ClientIsFull(41));
  EXPECT_FALSE(other.Resize(41));
  EXPECT_TRUE(other.Resize(40));
  first.Clear();
  EXPECT_TRUE(second.Resize(60));
}

FakeEngine::Answer ForAMinute() {
  return [](const GenerationRequest&, const std::string&) {
    Script script;
    script.pieces = {"a", "b"};
    script.per_piece = std::chrono::milliseconds(60'000);
    return script;
  };
}

std::string Announced(size_t bytes) {
  return "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(bytes) +
         "\r\n\r\n";
}

// A body takes eight times its size while it is worked on: here there is room for one of 3,000 bytes at a time.
TEST(Http, TheRoomOfABodyComesBackOnceItIsRead) {
  RunningServer server(ForAMinute(), {.buffer_bytes = 40'000});
  server.Start();
  const std::string body = ChatBody(std::string(3000, 'x'), R"(,"stream":true)");
  TestClient first(server.port());
  ASSERT_TRUE(first.Send(RunningServer::Request("POST", "/v1/chat/completions", body)));
  ASSERT_TRUE(first.ReadUntil("\"a\""));
  TestClient second(server.port());
  ASSERT_TRUE(second.Send(RunningServer::Request("POST", "/v1/chat/completions", body)));
  EXPECT_TRUE(second.ReadUntil("\"a\"")) << "the first one is answered, and its body gone";
}

TEST(Http, BodiesBeyondTheBuffersAreToldToComeBack) {
  RunningServer server(ForAMinute(), {.buffer_bytes = 40'000});
  server.Start();
  const auto response = server.Ask("POST", "/v1/chat/completions", ChatBody(std::string(6000, 'x')));
  EXPECT_EQ(response.status, 503);
  EXPECT_TRUE(response.Has("Retry-After: 2"));
  EXPECT_THAT(response.body, HasSubstr("\"code\":\"memory_pressure\""));
  EXPECT_EQ(server.Ask("GET", "/health").status, 200);
  EXPECT_THAT(server.Ask("GET", "/metrics").body, HasSubstr("inkstone_memory_bytes{purpose=\"connections\"} "));
}

TEST(Http, BodiesThatAreOnlyAnnouncedTakeNoRoom) {
  RunningServer server(Says({"ok"}), {.buffer_bytes = 40'000});
  server.Start();
  TestClient sized(server.port());
  ASSERT_TRUE(sized.Send(Announced(4'000'000) + R"({"messages":[)"));
  TestClient chunked(server.port());
  const std::string head =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
  ASSERT_TRUE(chunked.Send(head + "5\r\n{\"mes\r\n"));
  const std::string body = ChatBody("hi");
  TestClient other(server.port());
  std::array<char, 16> length{};
  std::snprintf(length.data(), length.size(), "%zx\r\n", body.size());
  ASSERT_TRUE(other.Send(head + length.data() + body + "\r\n0\r\n\r\n"));
  EXPECT_EQ(other.Receive().status, 200);
  EXPECT_EQ(server.Ask("POST", "/v1/chat/completions", body).status, 200);
}

TEST(Http, BodiesThatStallMakeRoom) {
  RunningServer server(Says({"ok"}), {.buffer_bytes = 100'000, .stall_after = std::chrono::milliseconds(500)});
  server.Start();
  TestClient stalled(server.port());
  ASSERT_TRUE(stalled.Send(Announced(60'000) + std::string(45'000, ' ')));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::string body = ChatBody(std::string(3000, 'x'));
  EXPECT_EQ(server.Ask("POST", "/v1/chat/completions", body).status, 503) << "it may still come on";
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  EXPECT_EQ(server.Ask("POST", "/v1/chat/completions", body).status, 200);
  const auto response = stalled.Receive();
  EXPECT_EQ(response.status, 408);
  EXPECT_THAT(response.body, HasSubstr("stopped arriving"));
}

TEST(Http, ABodyThatDripsIsCut) {
  RunningServer server(Says({"ok"}), {.body_stall = std::chrono::milliseconds(200)});
  server.Start();
  TestClient client(server.port());
  ASSERT_TRUE(client.Send(Announced(100)));
  for (int i = 0; i < 8; ++i) {
    client.Send(" ");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(client.Receive().status, 408);
}

TEST(Http, AnswersInOnePieceStayWithinTheBuffers) {
  RunningServer server(
      [](const GenerationRequest&, const std::string&) {
        Script script;
        script.pieces.assign(100, std::string(1000, 'y'));
        return script;
      },
      {.buffer_bytes = 100'000});
  server.Start();
  const auto response = server.Ask("POST", "/v1/chat/completions", ChatBody("hi"));
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("\"code\":\"memory_pressure\""));
  EXPECT_EQ(server.Ask("POST", "/v1/chat/completions", ChatBody("hi", R"(,"stream":true)")).status, 200);
}

TEST(Http, ShortMemoryRefusesWithATimeToComeBack) {
  RunningServer server(Says({"ok"}));
  server.Start();
  server.session.engine().memory_is_short = true;
  const auto response = server.Ask("POST", "/v1/chat/completions", ChatBody("hi"));
  EXPECT_EQ(response.status, 503);
  EXPECT_TRUE(response.Has("Retry-After: "));
  EXPECT_THAT(response.body, HasSubstr("\"code\":\"memory_pressure\""));
}

TEST(Props, MemoryIsListedByPurpose) {
  RunningServer server(Says({"ok"}));
  server.session.account.budget = 1000;
  server.session.account.resident = 500;
  server.session.account[MemoryPurpose::kWeights] = {.planned = 400, .actual = 300};
  server.Start();
  const std::string props = server.Ask("GET", "/props").body;
  EXPECT_THAT(props, HasSubstr(R"("memory":{"budget":1000,"planned":400,"resident":500,)"));
  EXPECT_THAT(props, HasSubstr(R"("weights":{"planned":400,"actual":300})"));
  EXPECT_THAT(props, HasSubstr(R"("level":"none")"));
  const std::string metrics = server.Ask("GET", "/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("inkstone_memory_bytes{purpose=\"weights\"} 300"));
  EXPECT_THAT(metrics, HasSubstr("inkstone_memory_planned_bytes{purpose=\"weights\"} 400"));
  EXPECT_THAT(metrics, HasSubstr("inkstone_memory_reactions_total{reaction=\"refuse\"} 0"));
}

}  // namespace
}  // namespace inkstone::testing

// A server on a free loopback port in front of a FakeSession, for one test.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "server/server.h"
#include "server/testing/fake_session.h"
#include "server/testing/test_client.h"

namespace inkstone::testing {

class RunningServer {
 public:
  explicit RunningServer(FakeEngine::Answer answer, HttpLimits limits = {}) : session(std::move(answer)) {
    options.port = 0;
    options.limits = limits;
  }
  ~RunningServer() { StopNow(); }

  void Start() {
    auto created = Server::Create(session, options);
    ASSERT_TRUE(created.ok()) << created.status().message();
    server = std::move(*created);
    thread = std::thread([this] { EXPECT_TRUE(server->Run().ok()); });
  }
  // Ends without grace.
  void StopNow() {
    if (!thread.joinable()) return;
    server->Stop();
    server->Stop();
    thread.join();
  }
  uint16_t port() const { return server->port(); }

  static std::string Request(const std::string& method, const std::string& target, const std::string& body = "",
                             const std::string& headers = "") {
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
    if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return text + "\r\n" + body;
  }
  // One request on its own connection.
  TestResponse Ask(const std::string& method, const std::string& target, const std::string& body = "",
                   const std::string& headers = "") const {
    TestClient client(port());
    client.Send(Request(method, target, body, headers));
    return client.Receive(method == "HEAD");
  }

  FakeSession session;
  ServerOptions options;
  std::unique_ptr<Server> server;
  std::thread thread;
};

// Says these pieces whatever it's asked.
inline FakeEngine::Answer Says(std::vector<std::string> pieces, std::chrono::milliseconds per_piece = {}) {
  return [pieces = std::move(pieces), per_piece](const GenerationRequest&, const std::string&) {
    Script script;
    script.pieces = pieces;
    script.per_piece = per_piece;
    return script;
  };
}

inline std::string ChatBody(const std::string& content, const std::string& fields = "") {
  return R"({"model":"m","messages":[{"role":"user","content":")" + content + "\"}]" + fields + "}";
}

}  // namespace inkstone::testing

// Who may use the server: names, addresses, origins, pages of other sites.
#include "server/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/testing/running_server.h"

namespace inkstone::testing {
namespace {

using ::testing::HasSubstr;

int StatusForHost(const RunningServer& server, const std::string& host, const std::string& target = "/health") {
  TestClient client(server.port());
  client.Send("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
  return client.Receive().status;
}

void ChecksHosts(const std::string& listen) {
  RunningServer server(Says({"ok"}));
  server.options.host = listen;
  server.options.allowed_hosts = {"my.name"};
  server.Start();
  for (const char* host :
       {"localhost:8080", "LOCALHOST", "a.localhost", "localhost.", "127.0.0.1:1", "127.1.2.3", "[::1]:80",
        "192.168.1.7:8080", "[fe80::1]:8080", "[::ffff:10.0.0.1]", "my.name", "My.Name.:1"}) {
    EXPECT_EQ(StatusForHost(server, host), 200) << host << " on " << listen;
  }
  for (const char* host : {"evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evillocalhost", "1.2.3",
                           "0x7f.0.0.1", "127.0.0.1.", "a.my.name"}) {
    const int expected = std::string(host) == "127.0.0.1." ? 200 : 403;
    EXPECT_EQ(StatusForHost(server, host), expected) << host << " on " << listen;
  }
}

TEST(Access, ChecksHostOnLoopback) { ChecksHosts("127.0.0.1"); }
TEST(Access, ChecksHostBeyondLoopback) { ChecksHosts("0.0.0.0"); }

TEST(Access, ATargetInAbsoluteFormNamesTheHostToo) {
  RunningServer server(Says({"ok"}));
  server.Start();
  EXPECT_EQ(StatusForHost(server, "localhost", "http://localhost/health"), 200);
  EXPECT_EQ(StatusForHost(server, "localhost", "http://evil.example/health"), 403);
  EXPECT_EQ(StatusForHost(server, "evil.example", "http://localhost/health"), 403);
  EXPECT_EQ(StatusForHost(server, "localhost", "http://user@localhost/health"), 400);
}

TEST(Access, BeyondLoopbackNeedsAWord) {
  FakeSession session(Says({"ok"}));
  const auto options_for = [](const std::string& host, bool no_auth) {
    ServerOptions options;
    options.host = host;
    options.port = 0;
    options.no_auth = no_auth;
    return options;
  };
  for (const char* host : {"0.0.0.0", "::", "[::]", "::ffff:0.0.0.0"}) {
    const Status status = Server::CheckHost(options_for(host, false));
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << host;
    EXPECT_EQ(Server::Create(session, options_for(host, false)).status().code(), status.code()) << host;
    EXPECT_THAT(status.message(), HasSubstr("--no-auth")) << host;
    EXPECT_TRUE(Server::CheckHost(options_for(host, true)).ok()) << host;
  }
  for (const char* host : {"127.0.0.1", "127.0.0.2", "localhost", "::1", "[::1]", "::ffff:127.0.0.1"}) {
    const Status status = Server::CheckHost(options_for(host, false));
    EXPECT_TRUE(status.ok()) << host << ": " << status.message();
  }
  EXPECT_EQ(HostInUrl("::1"), "[::1]");
  EXPECT_EQ(HostInUrl("[::1]"), "[::1]");
  EXPECT_EQ(HostInUrl("localhost"), "localhost");
}

TEST(Access, ChecksOrigin) {
  RunningServer server(Says({"ok"}));
  server.options.allowed_origins = {"https://chat.example"};
  server.Start();
  const auto origin = [&](const std::string& name) {
    return server.Ask("GET", "/health", "", "Origin: " + name + "\r\n");
  };
  EXPECT_TRUE(origin("http://localhost:5173").Has("Access-Control-Allow-Origin: http://localhost:5173\r\n"));
  EXPECT_TRUE(origin("https://chat.example").Has("Access-Control-Allow-Origin: https://chat.example\r\n"));
  EXPECT_EQ(origin("https://evil.example").status, 403);
  EXPECT_EQ(origin("null").status, 403);
  const auto preflight = server.Ask("OPTIONS", "/v1/chat/completions", "",
                                    "Origin: http://localhost\r\nAccess-Control-Request-Headers: x-a\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_TRUE(preflight.Has("Access-Control-Allow-Headers: x-a"));
}

TEST(Access, PagesOfOtherSitesStartNoWork) {
  RunningServer server(Says({"ok"}));
  server.Start();
  const auto stream = [&](const std::string& headers) { return server.Ask("GET", "/stream?q=a", "", headers).status; };
  EXPECT_EQ(stream(""), 200);
  EXPECT_EQ(stream("Sec-Fetch-Site: none\r\n"), 200);
  EXPECT_EQ(stream("Sec-Fetch-Site: same-origin\r\nReferer: http://localhost/\r\n"), 200);
  EXPECT_EQ(stream("Sec-Fetch-Site: cross-site\r\n"), 403);
  EXPECT_EQ(stream("Sec-Fetch-Site: same-site\r\n"), 403);
  EXPECT_EQ(stream("Referer: https://evil.example/page?a=://localhost\r\n"), 403);
  EXPECT_EQ(stream("Sec-Fetch-Site: cross-site\r\nOrigin: http://localhost:5173\r\n"), 200);
  EXPECT_EQ(server.Ask("GET", "/", "", "Sec-Fetch-Site: cross-site\r\n").status, 200) << "a link to the page";
  EXPECT_TRUE(server.session.engine().WaitCancelled(0, {}));
  EXPECT_EQ(server.session.engine().requests().size(), 4u);
}

TEST(Access, BodiesAreDeclaredAsJson) {
  RunningServer server(Says({"ok"}));
  server.Start();
  const auto post = [&](const std::string& headers) {
    return server.Ask("POST", "/v1/chat/completions", ChatBody("a"), headers).status;
  };
  for (const char* type :
       {"application/json", "application/json; charset=utf-8", "Application/JSON ;x=y", "application/vnd.api+json"}) {
    EXPECT_EQ(post("Content-Type: " + std::string(type) + "\r\n"), 200) << type;
  }
  for (const char* type : {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                           "text/plain; application/json", "json"}) {
    EXPECT_EQ(post("Content-Type: " + std::string(type) + "\r\n"), 415) << type;
  }
  EXPECT_EQ(post("Content-Type: text/plain\r\nOrigin: http://localhost\r\n"), 200) << "its own page";
  EXPECT_EQ(post("Content-Type: text/plain\r\nOrigin: http://localhost:1\r\n"), 415);
  EXPECT_EQ(post("Sec-Fetch-Site: cross-site\r\n"), 415);
  EXPECT_EQ(post("Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n"), 403);
  EXPECT_EQ(post(""), 200) << "a program that says nothing";
}

}  // namespace
}  // namespace inkstone::testing

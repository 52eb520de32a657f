// A connection whose owner has no memory for requests.
#include "server/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <memory>
#include <new>
#include <string>
#include <thread>

#include "server/testing/test_client.h"

namespace inkstone::testing {
namespace {

namespace asio = boost::asio;
using ::testing::HasSubstr;

class PoorOwner final : public ConnectionOwner {
 public:
  const HttpLimits& limits() const override { return limits_; }
  bool draining() const override { return false; }
  const std::shared_ptr<BufferBudget>& buffers() const override { return buffers_; }
  bool EndStalledBody(const Connection& /*asking*/, bool /*same_client*/) override { return false; }
  void Handle(const HttpRequest& /*request*/, std::shared_ptr<Exchange> exchange) override {
    kept = std::move(exchange);
    throw std::bad_alloc();
  }
  void OnRecord(const HttpRequest& /*request*/, const RequestRecord& /*record*/) override {}
  void OnBusy(bool is_busy) override { busy += is_busy ? 1 : -1; }
  void OnTrouble(const char* what) override { trouble = what; }

  std::shared_ptr<Exchange> kept;
  int busy = 0;
  std::string trouble;

 private:
  HttpLimits limits_;
  std::shared_ptr<BufferBudget> buffers_ = std::make_shared<BufferBudget>(1 << 20);
};

TEST(Connection, AnswersWhenHandlingThrows) {
  asio::io_context context;
  PoorOwner owner;
  asio::ip::tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  TestClient client(acceptor.local_endpoint().port());
  const auto connection = std::make_shared<Connection>(acceptor.accept(), owner);
  bool ended = false;
  connection->Start([&] { ended = true; });
  client.Send("POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}");
  std::thread loop([&] { context.run(); });
  const auto response = client.Receive();
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("\"code\":\"memory_pressure\"}}"));
  EXPECT_TRUE(client.WaitClosed());
  loop.join();
  EXPECT_TRUE(ended);
  EXPECT_EQ(owner.busy, 0);
  EXPECT_THAT(owner.trouble, HasSubstr("bad_alloc"));
  EXPECT_EQ(owner.buffers()->taken(), 0u);
  EXPECT_TRUE(owner.kept->closed());
  owner.kept->Reply({.body = "too late"});  // does nothing
}

}  // namespace
}  // namespace inkstone::testing

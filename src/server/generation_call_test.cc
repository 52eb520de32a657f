// How a request goes from the event loop to a worker and back.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>

#include "server/service.h"
#include "server/testing/fake_session.h"

namespace inkstone::testing {
namespace {

// A loop that has run what it's given, and forgotten it, before Post returns: the worker is always the last to let go.
class EagerLoop final : public Loop {
 public:
  void Post(std::function<void()> task) override {
    std::thread([this, task = std::move(task)]() mutable {
      loop_thread = std::this_thread::get_id();
      task();
      task = nullptr;
    }).join();
  }
  void Offload(std::function<void()> task) override {
    std::thread([task = std::move(task)]() mutable {
      task();
      task = nullptr;
    }).join();
  }
  std::thread::id loop_thread;
};

struct Outcome {
  int status = 0;
  std::thread::id replied_on;
  std::thread::id destroyed_on;
};

class RecordingExchange final : public Exchange {
 public:
  explicit RecordingExchange(Outcome& outcome) : outcome_(outcome) {}
  ~RecordingExchange() override { outcome_.destroyed_on = std::this_thread::get_id(); }
  void Reply(HttpResponse response) override {
    outcome_.status = response.status;
    outcome_.replied_on = std::this_thread::get_id();
  }
  void StartStream(HttpResponse) override {}
  void Write(std::string_view) override {}
  void Finish() override {}
  bool closed() const override { return false; }
  void OnClose(std::function<void()>) override {}
  void AddHeader(std::string, std::string) override {}

 private:
  Outcome& outcome_;
};

struct Handover : ::testing::Test {
  FakeSession session{[](const GenerationRequest&, const std::string&) { return Script{}; }};
  std::shared_ptr<EagerLoop> loop = std::make_shared<EagerLoop>();
  Service service{.session = session, .options = {}, .loop = loop};
  HttpRequest request;
  Outcome outcome;

  void ExpectOnLoop(int status) const {
    EXPECT_EQ(outcome.status, status);
    EXPECT_EQ(outcome.replied_on, loop->loop_thread);
    EXPECT_EQ(outcome.destroyed_on, loop->loop_thread);
  }
};

TEST_F(Handover, AnExchangeEndsOnTheLoopWhenAWorkerMakesTheReply) {
  std::thread::id made_on;
  ReplyFromWorker(service, request, std::make_shared<RecordingExchange>(outcome), [&](HttpRequest&&) {
    made_on = std::this_thread::get_id();
    return HttpResponse{.status = 204};
  });
  ExpectOnLoop(204);
  EXPECT_NE(made_on, loop->loop_thread);
  EXPECT_NE(made_on, std::this_thread::get_id());
}

TEST_F(Handover, AnExchangeEndsOnTheLoopWhenARequestIsRefused) {
  StartGeneration(service, request, std::make_shared<RecordingExchange>(outcome),
                  [](HttpRequest&&) -> PlanOrError { return ApiError{.status = 422}; });
  ExpectOnLoop(422);
}

TEST(HeavyLane, OneAtATimeInTheirOrder) {
  HeavyLane lane;
  std::string begun;
  for (const char name : {'a', 'b', 'c'}) lane.Enter([&begun, name] { begun.push_back(name); });
  EXPECT_EQ(begun, "a");
  lane.Leave();
  EXPECT_EQ(begun, "ab");
  lane.Leave();
  lane.Leave();
  lane.Enter([&begun] { begun.push_back('d'); });
  EXPECT_EQ(begun, "abcd");
}

TEST_F(Handover, WhatAWorkerThrowsBecomesAnError) {
  StartGeneration(service, request, std::make_shared<RecordingExchange>(outcome),
                  [](HttpRequest&&) -> PlanOrError { throw std::runtime_error("no"); });
  ExpectOnLoop(500);
}

}  // namespace
}  // namespace inkstone::testing

#include "server/stop_signals.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <optional>

#include "server/testing/running_server.h"

namespace inkstone {
namespace {

// Whatever the process does: here it does nothing at all.
[[noreturn]] void Hang() {
  while (true) pause();
}

TEST(StopSignalsDeathTest, ASecondSignalEndsAtOnce) {
  EXPECT_EXIT(
      {
        if (!CatchStopSignals(std::chrono::seconds(100)).ok()) _exit(1);
        raise(SIGTERM);
        raise(SIGTERM);
        _exit(2);
      },
      ::testing::ExitedWithCode(128 + SIGTERM), "");
}

TEST(StopSignalsDeathTest, TimeEndsWhatDoesNotEnd) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EXIT(
      {
        if (!CatchStopSignals(std::chrono::seconds(1)).ok()) _exit(1);
        raise(SIGINT);
        Hang();
      },
      ::testing::ExitedWithCode(0), "");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

// Ends with 7 when only the second of these signals was heard.
[[noreturn]] void HangUpThenStop() {
  const auto descriptor = CatchStopSignals(std::chrono::seconds(100));
  if (!descriptor.ok()) _exit(1);
  raise(SIGHUP);
  pollfd readable{.fd = *descriptor, .events = POLLIN, .revents = 0};
  if (poll(&readable, 1, 0) != 0) _exit(2);
  raise(SIGTERM);
  _exit(poll(&readable, 1, 1000) == 1 ? 7 : 3);
}

TEST(StopSignalsDeathTest, TheFirstIsHeardAndAHangUpIsNot) {
  EXPECT_EXIT(HangUpThenStop(), ::testing::ExitedWithCode(7), "");
}

// A server whose event loop hangs in a request.
[[noreturn]] void StopWhileTheLoopHangs() {
  testing::RunningServer server(testing::Says({"ok"}), {.drain_grace = std::chrono::milliseconds(0)});
  server.options.handle_signals = true;
  server.options.assets = [](std::string_view) -> std::optional<Asset> { Hang(); };
  server.Start();
  testing::TestClient client(server.port());
  client.Send(testing::RunningServer::Request("GET", "/"));
  usleep(200'000);
  raise(SIGTERM);
  Hang();
}

TEST(StopSignalsDeathTest, AServerThatHangsEndsAfterItsGraceTime) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(StopWhileTheLoopHangs(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace inkstone

#include "cli/log_sink.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/logger.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <string>

namespace inkstone {
namespace {

using std::chrono::steady_clock;
using ::testing::EndsWith;
using ::testing::HasSubstr;

class LogSinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::pipe(ends_.data()), 0);
    // Small, so that it is full soon.
    ::fcntl(ends_[1], F_SETPIPE_SZ, 4096);
  }
  void TearDown() override {
    logger_.reset();
    for (const int end : ends_) {
      if (end >= 0) ::close(end);
    }
  }
  void MakeLogger(bool colors = false) {
    logger_ = std::make_shared<spdlog::logger>("test", std::make_shared<LogSink>(ends_[1], colors));
    logger_->set_pattern("%^%l%$ %v");
  }
  // Until `end` comes.
  std::string ReadUntil(const std::string& end) const {
    std::string text;
    std::array<char, 4096> buffer;
    while (text.find(end) == std::string::npos) {
      const ssize_t count = ::read(ends_[0], buffer.data(), buffer.size());
      if (count <= 0) break;
      text.append(buffer.data(), static_cast<size_t>(count));
    }
    return text;
  }

  std::array<int, 2> ends_{-1, -1};
  std::shared_ptr<spdlog::logger> logger_;
};

TEST_F(LogSinkTest, LinesComeInOrderAndEscaped) {
  MakeLogger();
  logger_->info("first");
  logger_->warn("GET /{} 404", "x\n2026-01-01 info forged\x1b[2J\u202e");
  logger_->error("last");
  EXPECT_EQ(ReadUntil("last\n"),
            "info first\nwarning GET /x\\n2026-01-01 info forged\\x1b[2J\\u{202e} 404\nerror last\n");
}

TEST_F(LogSinkTest, LevelsHaveColorsOnATerminal) {
  MakeLogger(true);
  logger_->info("text");
  EXPECT_EQ(ReadUntil("text\n"), "\033[32minfo\033[m text\n");
}

TEST_F(LogSinkTest, NobodyWaitsForAReader) {
  MakeLogger();
  const auto start = steady_clock::now();
  for (int i = 0; i < 20'000; ++i) logger_->info("line {} {}", i, std::string(100, '.'));
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(5));
  // Whoever reads at last sees how many are gone, and the newest.
  logger_->info("the newest");
  const std::string text = ReadUntil("the newest\n");
  EXPECT_THAT(text, HasSubstr("lines of the log are lost: nobody read it)\n"));
  EXPECT_THAT(text, HasSubstr("line 19999 "));
  EXPECT_THAT(text, EndsWith("info the newest\n"));
  EXPECT_LT(text.size(), LogSink::kMostBytes + (64 << 10));
}

TEST_F(LogSinkTest, TheEndWaitsForNobodyEither) {
  MakeLogger();
  for (int i = 0; i < 1000; ++i) logger_->info("line {}", std::string(100, '.'));
  const auto start = steady_clock::now();
  logger_.reset();
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(2));
}

TEST_F(LogSinkTest, WhatWasLoggedLastIsWrittenBeforeTheEnd) {
  MakeLogger();
  logger_->info("goodbye");
  logger_.reset();
  ::close(std::exchange(ends_[1], -1));
  EXPECT_EQ(ReadUntil("never"), "info goodbye\n");
}

TEST_F(LogSinkTest, AReaderThatIsGoneDoesNotHurt) {
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  MakeLogger();
  ::close(std::exchange(ends_[0], -1));
  for (int i = 0; i < 100; ++i) logger_->info("line");
  const auto start = steady_clock::now();
  logger_.reset();
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(2));
  std::signal(SIGPIPE, before);
}

}  // namespace
}  // namespace inkstone

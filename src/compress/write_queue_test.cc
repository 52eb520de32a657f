#include "compress/write_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>

namespace inkstone {
namespace {

TEST(WriteQueue, WritesInOrder) {
  std::string written;
  WriteQueue queue(2, [&](std::span<const std::byte> bytes) {
    written.push_back(static_cast<char>(bytes[0]));
    return Status::Ok();
  });
  std::string expected;
  for (int i = 0; i < 50; ++i) {
    Result<std::vector<std::byte>> buffer = queue.Acquire(static_cast<size_t>(1 + i % 3));
    ASSERT_TRUE(buffer.ok());
    ASSERT_EQ(buffer->size(), static_cast<size_t>(1 + i % 3));
    expected.push_back(static_cast<char>('a' + i % 26));
    (*buffer)[0] = static_cast<std::byte>(expected.back());
    queue.Submit(std::move(*buffer));
  }
  ASSERT_TRUE(queue.Drain().ok());
  EXPECT_EQ(written, expected);
}

TEST(WriteQueue, ReportsTheFirstErrorAndStopsWriting) {
  std::atomic<int> calls = 0;
  WriteQueue queue(2, [&](std::span<const std::byte>) {
    ++calls;
    return ResourceExhausted("disk full");
  });
  StatusCode code = StatusCode::kOk;
  for (int i = 0; i < 10 && code == StatusCode::kOk; ++i) {
    Result<std::vector<std::byte>> buffer = queue.Acquire(1);
    code = buffer.status().code();
    if (buffer.ok()) queue.Submit(std::move(*buffer));
  }
  EXPECT_EQ(code, StatusCode::kResourceExhausted);
  EXPECT_EQ(queue.Drain().message(), "disk full");
  EXPECT_EQ(calls, 1);
}

TEST(WriteQueue, CanBeDroppedWithWorkLeft) {
  WriteQueue queue(3, [](std::span<const std::byte>) { return Status::Ok(); });
  for (int i = 0; i < 2; ++i) queue.Submit(queue.Acquire(1 << 16).value());
}

}  // namespace
}  // namespace inkstone

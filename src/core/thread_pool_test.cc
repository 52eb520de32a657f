#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace inkstone {
namespace {

class ThreadPoolTest : public ::testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, RunCallsEveryThreadOnce) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 200; ++round) {
    std::vector<int> calls(static_cast<size_t>(pool.size()), 0);
    pool.Run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
    for (const int c : calls) ASSERT_EQ(c, 1);
  }
}

TEST_P(ThreadPoolTest, RunSeesWritesOfEarlierRuns) {
  ThreadPool pool(GetParam());
  int64_t plain = 0;  // not atomic: the fork and the join must order it
  for (int round = 0; round < 500; ++round) {
    pool.Run([&](int thread) {
      if (thread == round % pool.size()) ++plain;
    });
  }
  EXPECT_EQ(plain, 500);
}

TEST_P(ThreadPoolTest, ParallelForCoversEveryIndexOnce) {
  ThreadPool pool(GetParam());
  for (const int64_t count : {0, 1, 7, 64, 1001}) {
    for (const int64_t grain : {1, 3, 64, 5000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end, int thread) {
        ASSERT_LT(thread, pool.size());
        ASSERT_EQ(begin % grain, 0);
        for (int64_t i = begin; i < end; ++i) seen[static_cast<size_t>(i)].fetch_add(1);
      });
      for (const auto& s : seen) ASSERT_EQ(s.load(), 1);
    }
  }
}

TEST_P(ThreadPoolTest, ParkedWorkersWakeUp) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // beyond the spin time
    std::atomic<int> calls{0};
    pool.Run([&](int) { calls.fetch_add(1); });
    EXPECT_EQ(calls.load(), pool.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolTest, ::testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace inkstone

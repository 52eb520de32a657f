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

// One CPU for each thread, round and round over those that this process has.
std::vector<std::vector<int>> Places(int threads) {
  const std::vector<int> cpus = ThreadCpus();
  std::vector<std::vector<int>> places;
  for (size_t t = 0; t < static_cast<size_t>(threads); ++t) places.push_back({cpus[t % cpus.size()]});
  return places;
}

std::vector<int> CpusOfANewThread() {
  std::vector<int> cpus;
  std::thread([&] { cpus = ThreadCpus(); }).join();
  return cpus;
}

TEST_P(ThreadPoolTest, PlacesBindWorkersAndTheCallerForAsLongAsItWants) {
  const std::vector<int> before = ThreadCpus();
  const auto places = Places(GetParam());
  ThreadPool pool(GetParam(), places);
  EXPECT_TRUE(pool.pinned());
  std::vector<std::vector<int>> found(places.size());
  const auto look = [&](int thread) { found[static_cast<size_t>(thread)] = ThreadCpus(); };
  {
    const ThreadBinding binding = pool.BindCaller();
    pool.Run(look);
    EXPECT_EQ(found, places);
  }
  EXPECT_EQ(ThreadCpus(), before);
  pool.Run(look);
  EXPECT_EQ(found[0], before);
  for (size_t t = 1; t < places.size(); ++t) EXPECT_EQ(found[t], places[t]);
}

TEST_P(ThreadPoolTest, ThreadsStartedLaterMayRunEverywhere) {
  const std::vector<int> before = ThreadCpus();
  ThreadPool pool(GetParam(), Places(GetParam()));
  {
    const ThreadBinding binding = pool.BindCaller();
    pool.Run([](int) {});
    EXPECT_EQ(ThreadCpus().size(), 1u);
  }
  EXPECT_EQ(CpusOfANewThread(), before);
  ThreadPool unpinned(GetParam());
  EXPECT_FALSE(unpinned.pinned());
  const ThreadBinding nothing = unpinned.BindCaller();
  std::vector<std::vector<int>> found(static_cast<size_t>(GetParam()));
  unpinned.Run([&](int thread) { found[static_cast<size_t>(thread)] = ThreadCpus(); });
  for (const std::vector<int>& cpus : found) EXPECT_EQ(cpus, before);
}

TEST(ThreadBindingTest, NestsAndSurvivesRefusal) {
  const std::vector<int> before = ThreadCpus();
  ASSERT_FALSE(before.empty());
  const std::vector<int> last = {before.back()};
  const std::vector<int> first = {before.front()};
  const std::vector<int> beyond = {60000};  // no such CPU
  {
    const ThreadBinding outer(last);
    EXPECT_EQ(ThreadCpus(), last);
    {
      const ThreadBinding inner(first);
      EXPECT_EQ(ThreadCpus(), first);
      const ThreadBinding refused(beyond);
      EXPECT_EQ(ThreadCpus(), first);
    }
    EXPECT_EQ(ThreadCpus(), last);
  }
  EXPECT_EQ(ThreadCpus(), before);
  for (const std::vector<int>& bad : {std::vector<int>{}, {-1}, {1 << 30}, beyond}) EXPECT_FALSE(SetThreadCpus(bad));
  EXPECT_EQ(ThreadCpus(), before);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolTest, ::testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace inkstone

#include "engine/memory_watch.h"

#include <gtest/gtest.h>

#include "backends/cpu/cpu_backend.h"

namespace inkstone {
namespace {

constexpr uint64_t kMB = 1'000'000;

class ReadingTest : public ::testing::Test {
 protected:
  // A process of 300 MB, 100 of which are files, on a machine with 4 GB of 8 to be had.
  MemorySample sample_{.resident = 300 * kMB, .file_resident = 100 * kMB, .total = 8000 * kMB, .available = 4000 * kMB};
  MemoryContract contract_{.budget = 3000 * kMB, .weight_bytes = 2000 * kMB};
  ThreadPool threads_{1};
  std::unique_ptr<Backend> backend_ = MakeCpuBackend(*AvailableKernels({}).front(), &threads_);
  PagePool pool_ = PagePool::Create(*backend_, KvLayout{2, 3, 32, {}, 4}, 5).value();
};

// Weights count in full though only 100 MB of them have been read so far.
TEST_F(ReadingTest, WeightsCountInFull) {
  const MemoryReading r = ReadingOf(sample_, contract_, pool_, 2);
  EXPECT_EQ(r.resident, 2200 * kMB);
  EXPECT_EQ(r.room, 2000 * static_cast<int64_t>(kMB));
  EXPECT_EQ(r.total, 8000 * kMB);
  EXPECT_EQ(r.total_pages, 5);
  EXPECT_EQ(r.running, 2);
  sample_.resident = 2300 * kMB;
  sample_.file_resident = 2100 * kMB;  // with the program
  EXPECT_EQ(ReadingOf(sample_, contract_, pool_, 2).resident, 2300 * kMB);
}

TEST_F(ReadingTest, TheTighterOfMachineAndGroupCounts) {
  sample_.group_limit = 3500 * kMB;
  sample_.group_used = 250 * kMB;
  sample_.group_cache = 900 * kMB;
  MemoryReading r = ReadingOf(sample_, contract_, pool_, 0);
  EXPECT_EQ(r.room, 1250 * static_cast<int64_t>(kMB));
  EXPECT_EQ(r.total, 3500 * kMB);
  // Weights that another group has in its page cache take nothing from this one.
  sample_.resident = 2200 * kMB;
  sample_.file_resident = 2000 * kMB;
  sample_.group_cache = 500 * kMB;
  r = ReadingOf(sample_, contract_, pool_, 0);
  EXPECT_EQ(r.room, 2000 * static_cast<int64_t>(kMB));  // the machine's
  sample_.group_used = 3000 * kMB;
  EXPECT_EQ(ReadingOf(sample_, contract_, pool_, 0).room, 0);
}

}  // namespace
}  // namespace inkstone

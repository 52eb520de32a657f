#include "engine/memory_governor.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace inkstone {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kMiB = 1 << 20;
constexpr uint64_t kBudget = uint64_t{4} << 30;
// 64 MiB and 128 MiB of headroom, for this budget.
const MemoryLines kLines = LinesFor(kBudget, kBudget);

// A pool of 1,000 pages of 1 MiB: 400 of running sequences, 300 of the cache alone, 50 free and resident.
MemoryReading Reading(int64_t headroom) {
  MemoryReading r;
  r.budget = kBudget;
  r.resident = static_cast<uint64_t>(static_cast<int64_t>(kBudget) - headroom);
  r.page_bytes = kMiB;
  r.total_pages = 1000;
  r.used_pages = 700;
  r.idle_pages = 300;
  r.free_resident_pages = 50;
  r.running = 4;
  return r;
}

// With nothing left to shrink.
MemoryReading Bare(int64_t headroom) {
  MemoryReading r = Reading(headroom);
  r.used_pages = 400;
  r.idle_pages = 0;
  r.free_resident_pages = 0;
  return r;
}

class MemoryGovernorTest : public ::testing::Test {
 protected:
  const MemoryState& Look(const MemoryReading& r) {
    now_ += milliseconds(100);
    return state_ = Govern(state_, r, now_);
  }
  // The levels after each of so many looks, without repetition: "none shrink".
  std::string Levels(const MemoryReading& r, int looks) {
    std::string levels;
    for (int i = 0; i < looks; ++i) {
      const std::string level(MemoryLevelName(Look(r).level));
      if (levels.empty() || !levels.ends_with(level)) levels += (levels.empty() ? "" : " ") + level;
    }
    return levels;
  }
  MemoryState state_;
  MemoryClock::time_point now_ = MemoryClock::time_point(std::chrono::hours(1));
};

TEST_F(MemoryGovernorTest, LinesFollowBudgetAndMachine) {
  EXPECT_EQ(kLines.low, 64 * kMiB);
  EXPECT_EQ(kLines.high, 128 * kMiB);
  EXPECT_EQ(LinesFor(100 << 20, 200 << 20).low, 4 * kMiB);
  EXPECT_EQ(LinesFor(100 << 20, 200 << 20).reserve, 8 * kMiB);
  EXPECT_EQ(LinesFor(uint64_t{64} << 30, uint64_t{128} << 30).low, 96 * kMiB);
  EXPECT_EQ(LinesFor(0, uint64_t{128} << 30).reserve, 256 * kMiB);
}

TEST_F(MemoryGovernorTest, HeadroomIsTheLesserOfBudgetAndSystem) {
  MemoryReading r = Reading(500 * kMiB);
  EXPECT_EQ(Headroom(r), 500 * kMiB);  // of the system nothing is known
  r.total = kBudget;
  r.room = 200 * kMiB;
  EXPECT_EQ(Headroom(r), 200 * kMiB - kLines.reserve);
  r.budget = 0;
  r.room = 600 * kMiB;
  EXPECT_EQ(Headroom(r), 600 * kMiB - LinesFor(0, r.total).reserve);
}

TEST_F(MemoryGovernorTest, WithHeadroomNothingIsLimited) {
  EXPECT_EQ(Levels(Reading(kLines.low), 50), "none");
  EXPECT_EQ(state_.page_limit, -1);
  EXPECT_FALSE(state_.give_back);
}

TEST_F(MemoryGovernorTest, CachesShrinkByWhatIsMissing) {
  EXPECT_EQ(Look(Reading(kLines.low - 1)).level, MemoryLevel::kShrink);
  EXPECT_TRUE(state_.give_back);
  // 65 MiB, rounded up, are missing; 50 are free.
  EXPECT_EQ(state_.page_limit, 700 + 50 - 65);
  EXPECT_EQ(state_.entered[1], 1);
  Look(Reading(-10'000 * kMiB));  // but running sequences keep theirs, and two more each
  EXPECT_EQ(state_.page_limit, 400 + 8);
}

TEST_F(MemoryGovernorTest, RunningWorkGivesWayOnlyWhenCachesAreEmpty) {
  EXPECT_EQ(Levels(Reading(kLines.low / 2), 100), "shrink");
  EXPECT_EQ(Levels(Bare(kLines.low / 2), 100), "shrink spill");  // not over the line yet
}

// Even where requests that end leave something behind at every look.
TEST_F(MemoryGovernorTest, AShortageThatLastsEscalatesWhateverIsLeftToShrink) {
  EXPECT_EQ(Levels(Reading(-kMiB), 20), "shrink spill hold preempt");
}

TEST_F(MemoryGovernorTest, LevelsFollowOneAnother) {
  EXPECT_EQ(Levels(Bare(-kMiB), 4), "shrink");
  EXPECT_EQ(Levels(Bare(-kMiB), 4), "spill");
  EXPECT_EQ(Levels(Bare(-kMiB), 1), "hold");
  EXPECT_EQ(state_.page_limit, 408);
  EXPECT_EQ(Levels(Bare(-kMiB), 4), "hold preempt");
  EXPECT_EQ(state_.page_limit, 400 - 129);  // until there is headroom again
  EXPECT_EQ(Levels(Bare(-kMiB), 10), "preempt");
  EXPECT_EQ(Levels(Bare(-kMiB), 100), "refuse");
  EXPECT_EQ(state_.entered, (std::array<int64_t, kMemoryLevels>{0, 1, 1, 1, 1, 1}));
}

TEST_F(MemoryGovernorTest, AShortMomentDoesNotEscalate) {
  Levels(Bare(-kMiB), 5);
  ASSERT_EQ(state_.level, MemoryLevel::kSpill);
  for (int i = 0; i < 50; ++i) {
    Levels(Bare(-kMiB), 2);
    Levels(Bare(kMiB), 1);
  }
  EXPECT_EQ(state_.level, MemoryLevel::kSpill);
}

TEST_F(MemoryGovernorTest, LevelsAreLeftOneByOneAndSlowly) {
  Levels(Bare(-kMiB), 100);
  ASSERT_EQ(state_.level, MemoryLevel::kRefuse);
  EXPECT_EQ(Levels(Bare(kLines.low / 2 - 1), 100), "refuse");  // neither short nor calm
  EXPECT_EQ(Levels(Bare(kLines.low / 2), 20), "refuse");
  EXPECT_EQ(Levels(Bare(kLines.low / 2), 100), "preempt hold spill");  // what runs may go on
  EXPECT_EQ(Levels(Bare(kLines.high + 1), 20), "spill");
  EXPECT_EQ(Levels(Bare(kLines.high + 1), 50), "shrink none");
  EXPECT_EQ(state_.page_limit, -1);
  EXPECT_EQ(state_.entered[5], 1);
}

// At the lines themselves nothing swings.
TEST_F(MemoryGovernorTest, BetweenTheLinesLevelAndLimitStay) {
  Look(Reading(kLines.low - 1));
  const int64_t limit = state_.page_limit;
  EXPECT_EQ(Levels(Reading(kLines.low), 100), "shrink");
  EXPECT_EQ(Levels(Reading(kLines.high), 100), "shrink");
  EXPECT_EQ(state_.page_limit, limit);
}

TEST_F(MemoryGovernorTest, TheLimitGrowsByWhatIsLeftOverTheHigherLine) {
  Look(Reading(-10'000 * kMiB));
  ASSERT_EQ(state_.page_limit, 408);
  Look(Reading(kLines.high + 20 * kMiB));
  EXPECT_EQ(state_.page_limit, 700 + 50 + 20);
  Look(Reading(kLines.high + 2000 * kMiB));
  EXPECT_EQ(state_.page_limit, 1000);
}

TEST_F(MemoryGovernorTest, StallsShrinkCachesAndDoNoMore) {
  MemoryReading r = Bare(1000 * kMiB);
  r.stalled = 50;
  EXPECT_EQ(Levels(r, 100), "shrink");
  r.stalled = 0;
  EXPECT_EQ(Levels(r, 30), "shrink none");
}

}  // namespace
}  // namespace inkstone

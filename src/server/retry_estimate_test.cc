#include "server/retry_estimate.h"

#include <gtest/gtest.h>

namespace inkstone {
namespace {

EngineStats Stats(int running, int waiting, double worked) {
  EngineStats stats;
  stats.running = running;
  stats.waiting = waiting;
  stats.prefill_seconds = worked / 4;
  stats.decode_seconds = worked - worked / 4;
  return stats;
}

TEST(RetryEstimate, CountsWhatIsAheadTimesItsCost) {
  RetryEstimate estimate;
  EXPECT_EQ(estimate.Seconds(Stats(0, 0, 0)), 1);
  EXPECT_EQ(estimate.Seconds(Stats(2, 6, 10)), 40);  // nobody has finished: 5 seconds each so far
  estimate.OnFinished(Stats(1, 6, 2));
  EXPECT_EQ(estimate.Seconds(Stats(1, 6, 2)), 14);
  EXPECT_EQ(estimate.Seconds(Stats(8, 64, 2)), 120);
  EXPECT_EQ(estimate.Seconds(Stats(0, 0, 2)), 1);
}

TEST(RetryEstimate, FollowsTheNewerRequests) {
  RetryEstimate estimate;
  double worked = 0;
  for (int i = 0; i < 20; ++i) estimate.OnFinished(Stats(1, 0, worked += 8));
  EXPECT_EQ(estimate.Seconds(Stats(1, 4, worked)), 40);
  for (int i = 0; i < 20; ++i) estimate.OnFinished(Stats(1, 0, worked += 1));
  EXPECT_LE(estimate.Seconds(Stats(1, 4, worked)), 6);
}

}  // namespace
}  // namespace inkstone

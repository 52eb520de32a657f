#include "kvcache/attention_window.h"

#include <gtest/gtest.h>

namespace inkstone {
namespace {

TEST(AttentionWindow, IsOffByDefault) {
  const AttentionWindow all;
  EXPECT_FALSE(all.on());
  EXPECT_EQ(all.Dropped(1'000'000), 0);
  EXPECT_EQ(all.MostTokens(1'000'000), 1'000'000);
  EXPECT_EQ(all.NextDrop(5, 77), 77);
  EXPECT_EQ(AttentionWindow::For(0, 64, 32), all);
}

TEST(AttentionWindow, SinksAndStepsAreWholePages) {
  EXPECT_EQ(AttentionWindow::For(4096, 4, 32), (AttentionWindow{4096, 32, 512}));
  EXPECT_EQ(AttentionWindow::For(100, 33, 32), (AttentionWindow{100, 64, 32}));
  EXPECT_EQ(AttentionWindow::For(400, 0, 32), (AttentionWindow{400, 0, 64}));
}

TEST(AttentionWindow, EveryPositionSeesTheSinksAndTheNewest) {
  for (const auto& window : {AttentionWindow::For(10, 3, 4), AttentionWindow::For(64, 0, 4)}) {
    int64_t before = 0;
    for (int64_t position = 0; position < 500; ++position) {
      const int64_t dropped = window.Dropped(position);
      EXPECT_GE(dropped, before);
      EXPECT_EQ(dropped % window.step, 0);
      const int64_t newest = position - window.sinks - dropped;  // that it sees beside the sinks
      if (dropped > 0) {
        EXPECT_GE(newest, window.tokens);
      }
      EXPECT_LT(newest, window.tokens + window.step);
      EXPECT_LE(position + 1 - dropped, window.MostTokens(1000));
      // The next drop is where it says, and not before.
      const int64_t next = window.NextDrop(position, 1000);
      EXPECT_EQ(window.Dropped(next - 1), dropped);
      EXPECT_GT(window.Dropped(next), dropped);
      before = dropped;
    }
  }
}

}  // namespace
}  // namespace inkstone

#include "engine/step_budget.h"

#include <gtest/gtest.h>

namespace inkstone {
namespace {

constexpr int kLayers = 30;
constexpr double kShare = 0.3;
constexpr StepLoad kOneOfEach{1, 1};

// One chunk, each layer but the last taking `per_row` for each row and `fixed` for all; the last takes next to nothing.
int64_t RunChunk(StepBudget* budget, const StepLoad& load, double per_row, double fixed) {
  const int64_t rows = budget->ChunkRows(load);
  budget->OnChunk(rows);
  for (int layer = 0; layer < kLayers; ++layer) {
    budget->OnLayer(layer + 1 < kLayers ? static_cast<double>(rows) * per_row + fixed : 1e-5);
  }
  return rows;
}

TEST(StepBudget, ChunksAreAsLongAsALayerFitsHoweverCheapTheLastOneIs) {
  StepBudget budget(512, kShare);
  for (int i = 0; i < 20; ++i) budget.OnDecode(0.010);
  int64_t rows = 0;
  for (int chunk = 0; chunk < 20; ++chunk) rows = RunChunk(&budget, kOneOfEach, 4e-5, 0);
  EXPECT_GE(rows, 64);  // 100 would take the 4 ms that are allowed
  EXPECT_LE(rows, 128);
  EXPECT_TRUE(budget.MayRunLayer(kOneOfEach, 0));
  EXPECT_FALSE(budget.MayRunLayer(kOneOfEach, 0.003));
  // Deeper in the prompt a row costs more.
  for (int chunk = 0; chunk < 20; ++chunk) rows = RunChunk(&budget, kOneOfEach, 4e-4, 0);
  EXPECT_EQ(rows, 16);
}

TEST(StepBudget, AfterATimeAloneTheNextChunkIsShortAtOnce) {
  StepBudget budget(512, kShare);
  budget.OnDecode(0.010);
  EXPECT_EQ(RunChunk(&budget, {0, 2}, 4e-5, 0), 512);
  EXPECT_LE(RunChunk(&budget, kOneOfEach, 4e-5, 0), 112);
}

TEST(StepBudget, WithNothingToDecodeChunksAreLong) {
  StepBudget budget(512, kShare);
  budget.OnDecode(0.010);
  for (int chunk = 0; chunk < 5; ++chunk) EXPECT_EQ(RunChunk(&budget, {0, 3}, 1e-3, 0), 512);
}

TEST(StepBudget, MorePromptsThanAnswersGetMoreOfAStep) {
  StepBudget budget(512, kShare);
  budget.OnDecode(0.010);
  const double allowed = budget.Allowance({4, 2});
  EXPECT_NEAR(allowed / (0.010 + allowed), kShare, 1e-9);
  EXPECT_NEAR(budget.Allowance({2, 6}), 3 * allowed, 1e-9);
  EXPECT_NEAR(budget.Allowance({1, 100}), 8 * allowed, 1e-9);
}

TEST(StepBudget, TheShareIsTheCallers) {
  StepBudget even(512, 0.5), most(512, 0.75);
  even.OnDecode(0.010);
  most.OnDecode(0.010);
  EXPECT_NEAR(even.Allowance(kOneOfEach), 0.010, 1e-9);
  EXPECT_NEAR(most.Allowance(kOneOfEach), 0.030, 1e-9);
  EXPECT_NEAR(most.Allowance({1, 100}), 0.090, 1e-9) << "answers keep a tenth";
}

}  // namespace
}  // namespace inkstone

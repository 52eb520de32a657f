#include "compress/allocation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <random>

namespace inkstone {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Random = std::mt19937_64;

double Uniform(Random* random, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(*random);
}

// A matrix with a loss of the usual kind: falling by about four for each bit, with some noise.
AllocationItem Matrix(Random* random, int64_t rows, int64_t cols, size_t max_choices) {
  std::vector<DType> types;
  for (const DTypeInfo& info : AllDTypes()) {
    if (cols % info.block_elements == 0) types.push_back(info.type);
  }
  std::shuffle(types.begin(), types.end(), *random);
  types.resize(std::min(types.size(), max_choices));
  const double scale = std::exp(Uniform(random, -6, 0));
  AllocationItem item{"blk." + std::to_string(rows) + ".weight", {}};
  for (const DType type : types) {
    const double bits = 8.0 * Info(type).block_bytes / Info(type).block_elements;
    item.choices.push_back({type, static_cast<uint64_t>(rows * RowBytes(type, cols)),
                            scale * std::exp2(-2 * bits) * Uniform(random, 0.7, 1.4)});
  }
  return item;
}

uint64_t Least(const std::vector<AllocationItem>& items) {
  uint64_t sum = 0;
  for (const AllocationItem& item : items) {
    uint64_t least = std::numeric_limits<uint64_t>::max();
    for (const TypeChoice& choice : item.choices) least = std::min(least, choice.bytes);
    sum += least;
  }
  return sum;
}

uint64_t Most(const std::vector<AllocationItem>& items) {
  uint64_t sum = 0;
  for (const AllocationItem& item : items) {
    uint64_t most = 0;
    for (const TypeChoice& choice : item.choices) most = std::max(most, choice.bytes);
    sum += most;
  }
  return sum;
}

double BruteForce(std::span<const AllocationItem> items, uint64_t budget) {
  if (items.empty()) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (const TypeChoice& choice : items.front().choices) {
    if (choice.bytes > budget) continue;
    best = std::min(best, choice.loss + BruteForce(items.subspan(1), budget - choice.bytes));
  }
  return best;
}

// The smallest loss by a table over all budgets in units of `unit`, which divides every size.
double ByTable(const std::vector<AllocationItem>& items, uint64_t budget, uint64_t unit) {
  std::vector<double> best(budget / unit + 1, 0.0);
  for (const AllocationItem& item : items) {
    std::vector<double> next(best.size(), std::numeric_limits<double>::infinity());
    for (const TypeChoice& choice : item.choices) {
      for (size_t at = choice.bytes / unit; at < best.size(); ++at) {
        next[at] = std::min(next[at], best[at - choice.bytes / unit] + choice.loss);
      }
    }
    best.swap(next);
  }
  return best.back();
}

// Checks that sums are those of the choices and within the budget.
void ExpectConsistent(const std::vector<AllocationItem>& items, uint64_t budget, const Allocation& found) {
  ASSERT_EQ(found.chosen.size(), items.size());
  uint64_t bytes = 0;
  double loss = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    bytes += items[i].choices.at(found.chosen[i]).bytes;
    loss += items[i].choices.at(found.chosen[i]).loss;
  }
  EXPECT_EQ(found.bytes, bytes);
  EXPECT_DOUBLE_EQ(found.loss, loss);
  EXPECT_LE(found.bytes, budget);
}

// The matrices of a Qwen3-4B, every type that fits as a choice.
std::vector<AllocationItem> Qwen4b(Random* random, int layers) {
  std::vector<AllocationItem> items = {Matrix(random, 151936, 2560, 14)};
  const std::pair<int64_t, int64_t> shapes[] = {{4096, 2560}, {1024, 2560}, {1024, 2560}, {2560, 4096},
                                                {9728, 2560}, {9728, 2560}, {2560, 9728}};
  for (int layer = 0; layer < layers; ++layer) {
    for (const auto& [rows, cols] : shapes) items.push_back(Matrix(random, rows, cols, 14));
  }
  return items;
}

TEST(Allocation, IsAsGoodAsTryingEverything) {
  Random random(7);
  const int64_t rows[] = {256, 512, 768, 1024, 2560, 6144};
  const int64_t cols[] = {256, 320, 576, 768, 2560, 9728};
  for (int round = 0; round < 400; ++round) {
    std::vector<AllocationItem> items(1 + random() % 6);
    for (AllocationItem& item : items) item = Matrix(&random, rows[random() % 6], cols[random() % 6], 1 + random() % 6);
    if (round % 4 == 0) {  // ties: equal matrices with equal losses
      for (AllocationItem& item : items) item = items.front();
    }
    const double share = Uniform(&random, 0, 1);
    const uint64_t budget =
        Least(items) + static_cast<uint64_t>(share * static_cast<double>(Most(items) - Least(items)));
    const Result<Allocation> found = Allocate(items, budget);
    ASSERT_TRUE(found.ok()) << found.status().message();
    ExpectConsistent(items, budget, *found);
    const double best = BruteForce(items, budget);
    EXPECT_NEAR(found->loss, best, 1e-12 * best) << "round " << round;
  }
}

TEST(Allocation, IsAsGoodAsTryingEverythingOnLossesWithoutAnyOrder) {
  Random random(8);
  for (int round = 0; round < 400; ++round) {
    std::vector<AllocationItem> items(1 + random() % 6);
    for (AllocationItem& item : items) {
      for (size_t c = 0, count = 1 + random() % 6; c < count; ++c) {
        item.choices.push_back({DType::kF16, random() % 50, Uniform(&random, -1, 1)});
      }
    }
    const uint64_t budget = Least(items) + random() % 100;
    const Result<Allocation> found = Allocate(items, budget);
    ASSERT_TRUE(found.ok()) << found.status().message();
    ExpectConsistent(items, budget, *found);
    EXPECT_NEAR(found->loss, BruteForce(items, budget), 1e-12) << "round " << round;
  }
}

TEST(Allocation, IsAsGoodAsATableOverAllBudgets) {
  Random random(12);
  for (int round = 0; round < 10; ++round) {
    std::vector<AllocationItem> items(40);
    for (AllocationItem& item : items) item = Matrix(&random, 64 * (1 + static_cast<int64_t>(random() % 6)), 256, 14);
    const double share = Uniform(&random, 0.1, 0.9);
    const uint64_t budget =
        Least(items) + static_cast<uint64_t>(share * static_cast<double>(Most(items) - Least(items)));
    const Result<Allocation> found = Allocate(items, budget);
    ASSERT_TRUE(found.ok()) << found.status().message();
    ExpectConsistent(items, budget, *found);
    const double best = ByTable(items, budget, 128);
    EXPECT_NEAR(found->loss, best, 1e-12 * best) << "round " << round;
  }
}

TEST(Allocation, MoreBytesAreNeverWorse) {
  Random random(9);
  const std::vector<AllocationItem> items = Qwen4b(&random, 6);
  const uint64_t least = Least(items);
  const uint64_t step = (Most(items) - least) / 60;
  double before = std::numeric_limits<double>::infinity();
  for (uint64_t budget = least; budget <= Most(items) + step; budget += step) {
    const Result<Allocation> found = Allocate(items, budget);
    ASSERT_TRUE(found.ok()) << found.status().message();
    ExpectConsistent(items, budget, *found);
    EXPECT_LE(found->loss, before * (1 + 1e-12));
    before = found->loss;
    EXPECT_EQ(Allocate(items, budget)->chosen, found->chosen);
  }
}

TEST(Allocation, FillsTheBudgetOfALargeModelInTime) {
  Random random(10);
  const std::vector<AllocationItem> items = Qwen4b(&random, 57);  // 400 matrices
  ASSERT_EQ(items.size(), 400u);
  const uint64_t budget = 2'400'000'000;
  const auto start = std::chrono::steady_clock::now();
  const Result<Allocation> found = Allocate(items, budget);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ASSERT_TRUE(found.ok()) << found.status().message();
  ExpectConsistent(items, budget, *found);
  EXPECT_GT(found->bytes, budget - 400'000);  // less than one step of the smallest matrix
  RecordProperty("milliseconds", static_cast<int>(1000 * seconds));
  EXPECT_LT(seconds, 2.0);
}

// Every choice buys the same for its bytes, so no bound rules anything out, and no two sums of the sizes are alike.
TEST(Allocation, StaysWithinMemoryWhereExactSearchCannot) {
  Random random(11);
  std::vector<AllocationItem> items(300);
  for (AllocationItem& item : items) {
    for (int c = 0; c < 8; ++c) {
      const uint64_t bytes = (uint64_t{1} << 20) + random() % (uint64_t{1} << 22);
      item.choices.push_back(
          {DType::kF16, bytes, 10 - 1e-6 * static_cast<double>(bytes) * Uniform(&random, 1, 1.0001)});
    }
  }
  const uint64_t budget = (Least(items) + Most(items)) / 2 + 1;
  const Result<Allocation> found = Allocate(items, budget);
  ASSERT_TRUE(found.ok()) << found.status().message();
  ExpectConsistent(items, budget, *found);
  EXPECT_GT(static_cast<double>(found->bytes), 0.9999 * static_cast<double>(budget));
}

TEST(Allocation, TakesTheOnlyChoiceAndTheBestWhereAllFits) {
  const std::vector<AllocationItem> one = {{"a", {{DType::kQ8_0, 34, 0.5}}}};
  EXPECT_THAT(Allocate(one, 34)->chosen, ElementsAre(0));
  const std::vector<AllocationItem> two = {
      {"a", {{DType::kQ4_0, 18, 0.5}, {DType::kF16, 64, 0.0}, {DType::kQ8_0, 34, 0.0}}},  // Q8_0 is as good as F16
      {"b", {{DType::kQ8_0, 34, 0.1}, {DType::kQ4_0, 18, 0.3}}}};
  const Result<Allocation> all = Allocate(two, std::numeric_limits<uint64_t>::max());
  EXPECT_THAT(all->chosen, ElementsAre(2, 0));
  EXPECT_EQ(all->bytes, 68u);
  EXPECT_THAT(Allocate(two, 67)->chosen, ElementsAre(2, 1));
  EXPECT_THAT(Allocate(two, 36)->chosen, ElementsAre(0, 1));
  EXPECT_TRUE(Allocate({}, 0)->chosen.empty());
}

TEST(Allocation, SaysWhatIsWrong) {
  const auto refused = [](std::vector<AllocationItem> items, uint64_t budget, StatusCode code) {
    const Status status = Allocate(items, budget).status();
    EXPECT_EQ(status.code(), code) << status.message();
    return status.message();
  };
  EXPECT_THAT(refused({{"x", {}}}, 10, StatusCode::kInvalidArgument), HasSubstr("tensor 'x' has no type"));
  EXPECT_THAT(refused({{"x", {{DType::kQ8_0, 1, std::nan("")}}}}, 10, StatusCode::kInvalidArgument),
              HasSubstr("tensor 'x' as Q8_0"));
  EXPECT_THAT(refused({{"x", {{DType::kQ8_0, ~uint64_t{0}, 0.0}}}}, 10, StatusCode::kInvalidArgument),
              HasSubstr("2^53"));
  const std::string message =
      refused({{"x", {{DType::kQ8_0, 1'500'000'000, 0.0}}}}, 1'200'000'000, StatusCode::kResourceExhausted);
  EXPECT_THAT(message, HasSubstr("take 1.50 GB"));
  EXPECT_THAT(message, HasSubstr("budget is 1.20 GB"));
}

}  // namespace
}  // namespace inkstone

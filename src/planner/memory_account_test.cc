#include "planner/memory_account.h"

#include <gtest/gtest.h>

#include <set>

namespace inkstone {
namespace {

TEST(MemoryAccount, PlannedPurposesSumUpToThePlan) {
  MemoryPlan plan;
  plan.weight_bytes = 1;
  plan.kv_bytes = 20;
  plan.activation_bytes = 300;
  plan.runtime_bytes = 4000;
  plan.connection_bytes = 50'000;
  plan.store_bytes = 600'000;
  plan.available = 7'000'000;
  const MemoryAccount account = PlannedAccount(plan);
  EXPECT_EQ(account.planned(), plan.total());
  EXPECT_EQ(account.planned(), 654'321u);
  EXPECT_EQ(account.budget, 7'000'000u);
}

TEST(MemoryAccount, TheRuntimeIsWhatNobodyClaims) {
  MemoryAccount account;
  account.resident = 100;
  account[MemoryPurpose::kWeights].actual = 50;
  account[MemoryPurpose::kConnections].actual = 20;
  account.FillRuntime();
  EXPECT_EQ(account[MemoryPurpose::kRuntime].actual, 30u);
  account.FillRuntime();  // again: the same
  EXPECT_EQ(account[MemoryPurpose::kRuntime].actual, 30u);
  account[MemoryPurpose::kWeights].actual = 90;
  account.FillRuntime();
  EXPECT_EQ(account[MemoryPurpose::kRuntime].actual, 0u);
}

TEST(MemoryAccount, EveryPurposeHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kMemoryPurposes; ++i) names.insert(MemoryPurposeName(static_cast<MemoryPurpose>(i)));
  EXPECT_EQ(names.size(), kMemoryPurposes);
}

}  // namespace
}  // namespace inkstone

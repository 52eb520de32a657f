// Which type each tensor gets, so that the predicted loss is smallest within a number of bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/status.h"

namespace inkstone {

struct TypeChoice {
  DType type = DType::kF16;
  uint64_t bytes = 0;
  double loss = 0;  // predicted mean KL divergence in nats; losses of tensors add up
};

struct AllocationItem {
  std::string tensor;
  std::vector<TypeChoice> choices;  // at least one
};

struct Allocation {
  std::vector<size_t> chosen;  // for each item, which of its choices
  uint64_t bytes = 0;
  double loss = 0;
};

// The smallest total loss whose bytes are at most `budget`: a multiple-choice knapsack, solved exactly (to the rounding
// of double sums) by dynamic programming over undominated pairs of bytes and loss. The relaxed problem's price of a
// byte rules out most choices and partial sums beforehand (Kellerer, Pferschy, Pisinger 2004, "Knapsack Problems",
// chapter 11).
// Only where more pairs remain than 16 MB hold, which takes losses nearly proportional to odd byte counts, sizes are
// rounded up to a coarser unit: the budget still holds, and what rounding left is spent on the best upgrades.
// Deterministic. Errors: kInvalidArgument (an item without choices, a loss that is not finite, bytes above 2^53),
// kResourceExhausted (even the smallest choices are above the budget: names both numbers).
Result<Allocation> Allocate(std::span<const AllocationItem> items, uint64_t budget);

}  // namespace inkstone

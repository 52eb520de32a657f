#include "planner/memory_account.h"

namespace inkstone {

std::string_view MemoryPurposeName(MemoryPurpose purpose) {
  static constexpr std::array<std::string_view, kMemoryPurposes> kNames = {
      "weights",     "kv_running", "kv_cached",   "kv_free_resident", "spill_buffers",
      "activations", "runtime",    "connections", "page_store_queue"};
  return kNames[static_cast<size_t>(purpose)];
}

uint64_t MemoryAccount::planned() const {
  uint64_t sum = 0;
  for (const MemoryAmount& amount : by_purpose) sum += amount.planned;
  return sum;
}

void MemoryAccount::FillRuntime() {
  MemoryAmount& runtime = (*this)[MemoryPurpose::kRuntime];
  runtime.actual = 0;
  uint64_t claimed = 0;
  for (const MemoryAmount& amount : by_purpose) claimed += amount.actual;
  runtime.actual = resident > claimed ? resident - claimed : 0;
}

MemoryAccount PlannedAccount(const MemoryPlan& plan) {
  MemoryAccount account;
  account[MemoryPurpose::kWeights].planned = plan.weight_bytes;
  account[MemoryPurpose::kKvRunning].planned = plan.kv_bytes;
  account[MemoryPurpose::kSpillBuffers].planned = plan.spill_buffer_bytes;
  account[MemoryPurpose::kActivations].planned = plan.activation_bytes;
  account[MemoryPurpose::kRuntime].planned = plan.runtime_bytes;
  account[MemoryPurpose::kConnections].planned = plan.connection_bytes;
  account[MemoryPurpose::kPageStoreQueue].planned = plan.store_bytes;
  account.budget = plan.available;
  return account;
}

}  // namespace inkstone

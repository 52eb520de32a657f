// Who has the memory: planned and actual bytes by purpose, for /metrics, /props and `inkstone inspect`. Pure
// arithmetic.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "planner/memory_plan.h"

namespace inkstone {

enum class MemoryPurpose : uint8_t {
  kWeights,         // mapped files; actual: what of them is resident
  kKvRunning,       // pages of sequences that run; planned: all pages
  kKvCached,        // pages that only the prefix cache holds, within what is planned for all
  kKvFreeResident,  // free pages whose memory was not given back, likewise
  kSpillBuffers,    // through which spilled pages come back
  kActivations,     // of a step
  kRuntime,         // all else: program, tokenizer, heap. Actual: what is left of the resident set
  kConnections,     // requests that are read, answers that are not sent
  kPageStoreQueue,  // copies of pages on their way to disk
};
constexpr size_t kMemoryPurposes = 9;
// "weights", "kv_running", ...
std::string_view MemoryPurposeName(MemoryPurpose purpose);

struct MemoryAmount {
  uint64_t planned = 0;  // bytes
  uint64_t actual = 0;
};

struct MemoryAccount {
  std::array<MemoryAmount, kMemoryPurposes> by_purpose = {};
  uint64_t budget = 0;    // bytes that the process may take
  uint64_t resident = 0;  // that it takes
  uint64_t peak_resident = 0;
  uint64_t group_limit = 0;  // of its control group; 0: none
  uint64_t group_used = 0;   // without page cache

  MemoryAmount& operator[](MemoryPurpose p) { return by_purpose[static_cast<size_t>(p)]; }
  const MemoryAmount& operator[](MemoryPurpose p) const { return by_purpose[static_cast<size_t>(p)]; }
  uint64_t planned() const;
  // What is resident and nobody has claimed belongs to the runtime. To be called when all else is filled in.
  void FillRuntime();
};

// The planned side.
MemoryAccount PlannedAccount(const MemoryPlan& plan);

}  // namespace inkstone

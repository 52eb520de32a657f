// What to do when memory runs short: from figures to a level of reaction and a number of pages. Pure: what is sensed
// and when comes in (engine/memory_watch.h), what is to be done goes out (the scheduler does it).
//
// The figures are bytes of headroom: what is left of the budget, and what the machine and the control groups have left
// beyond a reserve, whichever is less. Two lines are drawn (MemoryLines): below `low`, caches shrink until `high` is
// reached again; below zero, when that does not help, running work gives way, one level at a time.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace inkstone {

// Each includes what those before it do.
enum class MemoryLevel : uint8_t {
  kNone,
  kShrink,   // the prefix cache gives pages up, free pages go back to the system
  kSpill,    // pages go to disk: cached ones to the page store, so that they can come back, others to the spill file
  kHold,     // nobody is admitted while somebody runs
  kPreempt,  // the last in order give up their pages; the first goes on whatever happens
  kRefuse,   // new requests are refused
};
constexpr size_t kMemoryLevels = 6;
// "none", "shrink", "spill", "hold", "preempt", "refuse".
std::string_view MemoryLevelName(MemoryLevel level);

struct MemoryReading {
  uint64_t budget = 0;    // bytes that the process may take; 0: no limit of its own
  uint64_t resident = 0;  // that it takes
  uint64_t total = 0;     // of the machine, or of the control group where that is tighter; 0: not known
  int64_t room = 0;       // bytes left there, beyond what the weights need to stay in memory
  double stalled = 0;     // percent of time in which all work waited for memory (PSI)

  // The page pool.
  uint64_t page_bytes = 0;
  int64_t total_pages = 0;
  int64_t used_pages = 0;           // idle ones too
  int64_t idle_pages = 0;           // that only the prefix cache holds
  int64_t free_resident_pages = 0;  // free, memory not given back
  int running = 0;                  // sequences that have pages
};

// Bytes of headroom that decide, and the reserve that stays the system's.
struct MemoryLines {
  int64_t low = 0;
  int64_t high = 0;
  int64_t reserve = 0;
};
MemoryLines LinesFor(uint64_t budget, uint64_t total);
int64_t Headroom(const MemoryReading& reading);

using MemoryClock = std::chrono::steady_clock;

struct MemoryState {
  MemoryLevel level = MemoryLevel::kNone;
  int64_t page_limit = -1;                          // pages that may be in use; -1: all
  bool give_back = false;                           // the memory of free pages goes back to the system now
  int64_t headroom = 0;                             // bytes
  std::array<int64_t, kMemoryLevels> entered = {};  // times that each level was entered from below
  // Since when the present level has been too low, and too high.
  MemoryClock::time_point short_since = {};
  MemoryClock::time_point calm_since = {};
};

// The state that follows `before` when this is what is seen at `now`.
MemoryState Govern(const MemoryState& before, const MemoryReading& reading, MemoryClock::time_point now);

}  // namespace inkstone

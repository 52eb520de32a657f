// Between steps: looks at memory now and then, asks the governor, has the scheduler react. Engine thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "core/memory_probe.h"
#include "engine/memory_governor.h"
#include "engine/scheduler.h"
#include "kvcache/page_pool.h"

namespace inkstone {

// The figures the governor wants. All of the weights count, whether they are resident now or not: every step reads all
// of them, so that their room is nobody else's.
MemoryReading ReadingOf(const MemorySample& sample, const MemoryContract& contract, const PagePool& pool, int running);

class MemoryWatch {
 public:
  static constexpr std::chrono::milliseconds kInterval{100};

  // Borrows pool and scheduler.
  MemoryWatch(MemoryContract contract, const PagePool* pool, Scheduler* scheduler)
      : contract_(std::move(contract)), pool_(*pool), scheduler_(*scheduler) {}

  // Does nothing when the last look was less than kInterval ago.
  void Look();
  // Whether an idle engine must look too: there is something that it could give back.
  bool restless() const;
  const MemoryState& state() const { return state_; }

 private:
  const MemoryContract contract_;
  const PagePool& pool_;
  Scheduler& scheduler_;
  MemoryState state_;
  MemoryClock::time_point last_ = {};
};

}  // namespace inkstone

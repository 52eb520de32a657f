// What a session takes, by purpose. Thread-safe.
#pragma once

#include <chrono>
#include <mutex>
#include <span>
#include <vector>

#include "core/memory_probe.h"
#include "engine/engine.h"
#include "planner/memory_account.h"

namespace inkstone {

class MemoryMeter {
 public:
  // `weights` are the mapped files; they must outlive the meter.
  MemoryMeter(const MemoryPlan& plan, std::vector<std::span<const std::byte>> weights)
      : plan_(plan), weights_(std::move(weights)) {}

  // All but connections, and so with the runtime still to be filled. The weights' resident bytes are at most a second
  // old: to count them takes a walk over all mappings.
  MemoryAccount Read(const Engine& engine);

 private:
  uint64_t WeightsResident(uint64_t file_resident);

  const MemoryPlan plan_;
  const std::vector<std::span<const std::byte>> weights_;
  std::mutex mutex_;
  // Guarded by mutex_:
  MemoryProbe probe_;
  uint64_t weights_resident_ = 0;
  std::chrono::steady_clock::time_point counted_ = {};
};

}  // namespace inkstone

#include "engine/memory_meter.h"

#include <algorithm>

#include "core/memory_info.h"

namespace inkstone {

MemoryAccount MemoryMeter::Read(const Engine& engine) {
  MemoryAccount account = PlannedAccount(plan_);
  const EngineStats stats = engine.stats();
  const auto pages = [&](int64_t count) { return static_cast<uint64_t>(count * stats.kv_page_bytes); };
  account[MemoryPurpose::kKvRunning].actual = pages(stats.kv_pages_used);
  account[MemoryPurpose::kKvCached].actual = pages(stats.kv_pages_idle);
  account[MemoryPurpose::kKvFreeResident].actual = pages(stats.kv_pages_free_resident);
  account[MemoryPurpose::kActivations].actual = engine.ActivationBytes();
  account[MemoryPurpose::kSpillBuffers].actual = engine.SpillBufferBytes();
  account[MemoryPurpose::kPageStoreQueue].actual = stats.store.queue_bytes;

  const std::lock_guard lock(mutex_);
  const MemorySample sample = probe_.Read();
  account[MemoryPurpose::kWeights].actual = WeightsResident(sample.file_resident);
  account.resident = sample.resident;
  account.peak_resident = GetProcessMemory().peak_resident;
  if (sample.group_limit != kNoMemoryLimit) {
    account.group_limit = sample.group_limit;
    account.group_used = sample.group_used;
  }
  return account;
}

uint64_t MemoryMeter::WeightsResident(uint64_t file_resident) {
  const auto now = std::chrono::steady_clock::now();
  if (now - counted_ >= std::chrono::seconds(1)) {
    counted_ = now;
    weights_resident_ = MappedResidentBytes(weights_);
    // Where the system does not tell: what of mapped files could be theirs.
    if (weights_resident_ == 0) weights_resident_ = std::min(file_resident, plan_.weight_bytes);
  }
  return weights_resident_;
}

}  // namespace inkstone

#include "engine/memory_watch.h"

#include <malloc.h>

#include <algorithm>

namespace inkstone {

MemoryReading ReadingOf(const MemorySample& sample, const MemoryContract& contract, const PagePool& pool, int running) {
  MemoryReading r;
  const uint64_t weights_resident = std::min(sample.file_resident, contract.weight_bytes);
  const auto weights = static_cast<int64_t>(contract.weight_bytes);
  r.budget = contract.budget;
  r.resident = sample.resident - std::min(sample.resident, weights_resident) + contract.weight_bytes;
  r.total = sample.total;
  r.room = static_cast<int64_t>(sample.available) - weights;  // `available` holds the page cache, weights in it
  if (sample.group_limit != kNoMemoryLimit) {
    // Page cache counts where it was read first: perhaps in another group.
    const uint64_t elsewhere = weights_resident - std::min(weights_resident, sample.group_cache);
    const int64_t left = static_cast<int64_t>(sample.group_limit) - static_cast<int64_t>(sample.group_used) - weights +
                         static_cast<int64_t>(elsewhere);
    r.room = std::min(r.room, left);
    r.total = std::min(r.total, sample.group_limit);
  }
  r.stalled = sample.stalled;
  r.page_bytes = pool.layout().page_bytes();
  r.total_pages = pool.total_pages();
  r.used_pages = pool.used_pages();
  r.idle_pages = pool.idle_pages();
  r.free_resident_pages = pool.free_resident_pages();
  r.running = running;
  return r;
}

void MemoryWatch::Look() {
  if (!contract_.hooks.sense) return;
  const MemoryClock::time_point now = contract_.hooks.now();
  if (now - last_ < kInterval) return;
  last_ = now;
  const MemoryLevel before = state_.level;
  const auto running = static_cast<int>(scheduler_.running().size());
  state_ = Govern(state_, ReadingOf(contract_.hooks.sense(), contract_, pool_, running), now);
  scheduler_.ReactToMemory(state_);
  if (before == MemoryLevel::kNone && state_.level != before) ::malloc_trim(0);  // the heap shrinks too
  if (state_.level != before && contract_.hooks.on_change) contract_.hooks.on_change(before, state_);
}

bool MemoryWatch::restless() const {
  return contract_.hooks.sense &&
         (state_.level != MemoryLevel::kNone || pool_.used_pages() > 0 || pool_.free_resident_pages() > 0);
}

}  // namespace inkstone

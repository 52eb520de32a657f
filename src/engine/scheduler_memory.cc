// What the scheduler does when memory runs short.
#include <algorithm>

#include "engine/scheduler.h"

namespace inkstone {
namespace {

constexpr int64_t kPagesToStore = 4;  // at one look: the copies take memory too, and the writer is slow

}  // namespace

void Scheduler::ReactToMemory(const MemoryState& state) {
  memory_level_ = state.level;
  const int64_t limit = state.page_limit < 0 ? pool_.total_pages() : state.page_limit;
  const auto first = running_.empty() ? 0 : static_cast<int64_t>(running_.front()->pages.pages().size());
  pool_.SetLimit(std::max(limit, first));
  if (state.level >= MemoryLevel::kSpill) cache_.Persist(kPagesToStore);
  cache_.Evict(pool_.Shortage(0));
  if (state.level >= MemoryLevel::kSpill) SpillPages();
  while (state.level >= MemoryLevel::kPreempt && running_.size() > 1 && pool_.Shortage(0) > 0) {
    Preempt(LastInOrder());
    cache_.Evict(pool_.Shortage(0));
  }
  if (state.give_back) stats_.given_back_pages += pool_.GiveBack();
}

// Where there is a disk for them, pages of what runs go there, from the last in order to the first.
void Scheduler::SpillPages() {
  for (auto s = running_.rbegin(); s != running_.rend() && pool_.Shortage(0) > 0; ++s) {
    room_.Spill(s->get(), pool_.Shortage(0));
  }
}

bool Scheduler::MayAdmit() const { return memory_level_ < MemoryLevel::kHold || running_.empty(); }

// With nobody to make room for it, a sequence goes on whatever the limit: that is what progress rests on.
void Scheduler::AllowAlone(const Sequence& s) {
  if (running_.empty() || (running_.size() == 1 && running_.front().get() == &s)) {
    pool_.SetLimit(std::max(pool_.limit(), pool_.layout().PagesFor(s.size())));
  }
}

}  // namespace inkstone

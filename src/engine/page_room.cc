#include "engine/page_room.h"

#include <algorithm>
#include <string>

namespace inkstone {

Status PageRoom::Check(const Sequence& s) const {
  const SpillSpace* spill = pool_.spill();
  const bool spills = spill != nullptr && spill->trouble().empty();
  const int64_t room = pool_.total_pages() + (spills ? spill->slots() : 0);
  const int64_t tokens = window_.MostTokens(s.size());
  if (pool_.layout().PagesFor(tokens) <= room) return Status::Ok();
  std::string message = "the request has " + std::to_string(tokens) + " tokens, the KV cache holds " +
                        std::to_string(room * pool_.layout().page_tokens);
  if (spill != nullptr && !spills) message += ", and nothing more is written to disk: " + spill->trouble();
  return ResourceExhausted(std::move(message));
}

bool PageRoom::Admits(const Sequence& s, const PrefixFind& found, int64_t spare) const {
  const KvLayout& layout = pool_.layout();
  const int64_t dropped = window_.Dropped(found.tokens);
  const int64_t shared = (found.tokens - dropped) / layout.page_tokens;
  const int64_t tokens = window_.NextDrop(found.tokens, s.size());
  const int64_t needed = layout.PagesFor(tokens - dropped) + spare - shared;
  const int64_t idle = pool_.limit() - pool_.used_pages() + pool_.idle_pages();
  const int64_t available = idle - std::min(found.idle_pages, shared);
  if (needed <= available) return true;
  // Those of the first step must be in memory; what was found may go to disk to make room for them.
  const int64_t first = layout.PagesFor(std::min(tokens, found.tokens + most_rows_) - dropped) + spare - shared;
  const int64_t slots = FreeSlots() - found.idle_slots;
  return slots > 0 && first <= idle && needed <= available + slots;
}

bool PageRoom::Reserve(Sequence* s) {
  s->pages.Drop(window_.sinks, window_.Dropped(s->computed));
  int64_t tokens = window_.NextDrop(s->computed, s->size());
  if (Missing(*s, tokens) > pool_.free_pages() + pool_.idle_pages() && pool_.spill() != nullptr) {
    tokens = std::min(tokens, s->computed + most_rows_);
  }
  const int64_t wanted = Missing(*s, tokens);
  if (wanted > pool_.free_pages()) cache_.Evict(pool_.Shortage(wanted));
  if (wanted > pool_.free_pages()) Spill(s, pool_.Shortage(wanted));
  return s->pages.Reserve(tokens).ok();
}

void PageRoom::Spill(Sequence* s, int64_t pages) {
  // Only what is computed, and never a page that is still being filled.
  int64_t at = (s->computed - s->pages.dropped_tokens()) / pool_.layout().page_tokens;
  while (--at >= 0 && pages > 0 && FreeSlots() > 0) {
    const PageId page = s->pages.pages()[static_cast<size_t>(at)];
    const bool movable = !IsSpilled(page) && pool_.references(page) == (pool_.cached(page) ? 2 : 1);
    if (movable && MoveToDisk(s, static_cast<size_t>(at))) --pages;
  }
}

bool PageRoom::MoveToDisk(Sequence* s, size_t at) {
  if (pool_.spill()->free_slots() == 0) cache_.EvictSlot();
  const PageId page = s->pages.pages()[at];
  const auto copy = pool_.WriteToDisk(page);
  if (!copy.ok()) return false;
  if (pool_.cached(page)) cache_.Move(page, *copy);
  s->pages.MoveToDisk(at, *copy);
  return true;
}

int64_t PageRoom::Rows(const Sequence& s) const {
  if (s.pages.dropped_tokens() != window_.Dropped(s.computed)) return 0;
  const int64_t end = std::min(window_.NextDrop(s.computed, s.size()), s.pages.capacity());
  return std::min(s.Run(), end - s.computed);
}

}  // namespace inkstone

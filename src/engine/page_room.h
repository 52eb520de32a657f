// How many pages a sequence needs, and where they come from: free ones, then idle ones of the prefix cache, then, where
// the pool has a SpillSpace, its own that go to disk: the newest whole ones, so that the beginning stays where others
// can use it. The prefix cache keeps what it has of them there, for the next turn. With an attention window, what a
// sequence no longer sees is given back first. Engine thread only.
#pragma once

#include <cstdint>

#include "engine/sequence.h"
#include "kvcache/attention_window.h"
#include "kvcache/page_pool.h"
#include "kvcache/prefix_cache.h"
#include "kvcache/spill_space.h"

namespace inkstone {

class PageRoom {
 public:
  // Pool and cache are borrowed. No step computes more than `most_rows` tokens of a sequence.
  PageRoom(PagePool* pool, PrefixCache* cache, const AttentionWindow& window, int64_t most_rows)
      : pool_(*pool), cache_(*cache), window_(window), most_rows_(most_rows) {}

  // kResourceExhausted when there is too little room for the sequence even if it had all of it.
  Status Check(const Sequence& s) const;
  // Whether a sequence that begins with what was found can have its pages, and `spare` more.
  bool Admits(const Sequence& s, const PrefixFind& found, int64_t spare) const;
  // Drops what is no longer seen, then makes room for every token that is known now and may be computed before more is
  // dropped; where that is more than memory has, for those of one step. False when there is no room.
  bool Reserve(Sequence* s);
  // Tokens from `computed` on that one step may compute: of one phase, with the same part of the cache in sight, with
  // room. 0 when Reserve is due, as some were computed since.
  int64_t Rows(const Sequence& s) const;
  // Moves up to `pages` of the sequence to disk, where there is one.
  void Spill(Sequence* s, int64_t pages);

 private:
  // Those of the prefix cache too, which makes room.
  int64_t FreeSlots() const {
    return pool_.spill() == nullptr ? 0 : pool_.spill()->free_slots() + pool_.spill()->idle_slots();
  }
  // Moves a page of the sequence to disk, if nobody but the cache uses it too; false when there is no slot for it.
  bool MoveToDisk(Sequence* s, size_t at);
  // Pages that are missing for positions up to `tokens`.
  int64_t Missing(const Sequence& s, int64_t tokens) const {
    return pool_.layout().PagesFor(tokens - s.pages.capacity());
  }

  PagePool& pool_;
  PrefixCache& cache_;
  const AttentionWindow window_;
  const int64_t most_rows_;
};

}  // namespace inkstone

// Paged KV cache: fixed-size pages with reference counts, and the page table of each sequence (Kwon et al. 2023).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "core/dtype.h"
#include "core/kv_vector.h"
#include "core/status.h"
#include "kvcache/cached_references.h"

namespace inkstone {

struct KvLayout {
  int layers = 0;
  int kv_heads = 0;
  int head_dim = 0;
  KvTypes types = {};  // each IsKvType and KvTypeFits
  int page_tokens = 32;

  // Keys or values of one layer in one page: (kv_heads, page_tokens) vectors. A page holds each layer's keys, then its
  // values.
  size_t key_bytes() const { return BlockBytes(types.k); }
  size_t value_bytes() const { return BlockBytes(types.v); }
  size_t layer_bytes() const { return key_bytes() + value_bytes(); }
  size_t page_bytes() const { return layer_bytes() * static_cast<size_t>(layers); }
  int64_t PagesFor(int64_t tokens) const { return (tokens + page_tokens - 1) / page_tokens; }

 private:
  size_t BlockBytes(DType type) const {
    return static_cast<size_t>(kv_heads * page_tokens * KvVectorBytes(type, head_dim));
  }
};

// A page of the pool; negative: ~slot of the pool's SpillSpace.
using PageId = int32_t;
constexpr bool IsSpilled(PageId page) { return page < 0; }

class SpillSpace;

// All pages of one model; addresses are taken once, memory becomes resident as pages are used. Free pages keep theirs
// until GiveBack. A limit says how many may be in use; it can lie below what is in use, and then nothing is given out.
// Engine thread only.
class PagePool {
 public:
  static Result<PagePool> Create(Backend& backend, const KvLayout& layout, int64_t pages);

  const KvLayout& layout() const { return layout_; }
  int64_t total_pages() const { return references_.size(); }
  int64_t used_pages() const { return total_pages() - static_cast<int64_t>(free_.size()); }  // idle ones too
  int64_t limit() const { return limit_; }
  void SetLimit(int64_t pages) { limit_ = std::clamp<int64_t>(pages, 0, total_pages()); }
  // That may be taken now.
  int64_t free_pages() const { return std::max<int64_t>(0, limit_ - used_pages()); }
  // How many pages must become free before `wanted` can be taken.
  int64_t Shortage(int64_t wanted) const { return std::max<int64_t>(0, used_pages() + wanted - limit_); }
  // Free pages that still take memory.
  int64_t free_resident_pages() const { return free_resident_; }
  // Returns the memory of all free pages to the system, but for what shares a system page with others.
  // Says how many had any.
  int64_t GiveBack();

  // A page with one reference; kResourceExhausted when none is free.
  Result<PageId> Allocate();
  // Of a page in memory or on disk.
  void AddReference(PageId page);
  void Release(PageId page);  // free again when the last reference goes
  int references(PageId page) const;
  // A cache holds one of the page's references. Pages that nobody else holds are idle: theirs to give back.
  void SetCached(PageId page, bool cached);
  int64_t idle_pages() const { return references_.idle(); }            // in memory
  bool cached(PageId page) const { return references_.cached(page); }  // likewise
  // A copy on disk of a page in memory, with one reference.
  Result<PageId> WriteToDisk(PageId page) const;

  // Where pages of tables may move to; borrowed, null for nowhere.
  void set_spill(SpillSpace* spill) { spill_ = spill; }
  SpillSpace* spill() const { return spill_; }

  void Copy(PageId from, PageId to);

  std::span<const std::byte> memory() const { return {memory_.data(), memory_.size()}; }
  std::byte* Keys(PageId page, int layer) const;
  std::byte* Values(PageId page, int layer) const;

 private:
  PagePool(KvLayout layout, DeviceBuffer memory, int64_t pages);

  KvLayout layout_;
  DeviceBuffer memory_;
  std::vector<PageId> free_;     // lowest ids last, so that they are used first
  std::vector<bool> touched_;    // by page: its memory is resident, as far as is known
  int64_t limit_;                // of pages in use
  int64_t free_resident_ = 0;    // free and touched
  CachedReferences references_;  // by page in memory
  SpillSpace* spill_ = nullptr;
};

// The pages of one sequence, in order; some in the middle may have been dropped. Releases them when destroyed. Movable;
// must not outlive its pool.
class PageTable {
 public:
  explicit PageTable(PagePool* pool) : pool_(pool) {}
  PageTable(PageTable&& other) noexcept;
  PageTable& operator=(PageTable&& other) noexcept;
  ~PageTable();

  // Makes room for `tokens` positions, dropped ones included; on kResourceExhausted nothing has changed.
  Status Reserve(int64_t tokens);
  void Append(PageId page);              // takes over one reference
  void Replace(size_t at, PageId page);  // by a page with the same content, to which a reference is added
  // From now on `tokens` positions from `first` on are dropped, in whole pages; never fewer than before, and with the
  // same `first`.
  void Drop(int64_t first, int64_t tokens);
  // From now on the page is one on disk with the same content, whose reference the table takes over.
  void MoveToDisk(size_t at, PageId spilled);
  void Clear();
  int64_t capacity() const;  // positions, dropped ones included
  int64_t dropped_tokens() const;
  // The place in pages() of the page that begins with `position`; nothing when it was dropped.
  std::optional<size_t> Find(int64_t position) const;
  const std::vector<PageId>& pages() const { return pages_; }  // without those dropped
  int64_t spilled_pages() const { return spilled_; }
  // Of a page, wherever it is; of a spilled one after SpilledPages::Fetch for the layer.
  std::byte* Keys(size_t at, int layer) const;
  std::byte* Values(size_t at, int layer) const { return Keys(at, layer) + pool_->layout().key_bytes(); }
  const PagePool& pool() const { return *pool_; }

 private:
  void Release(PageId page);

  PagePool* pool_;
  std::vector<PageId> pages_;
  size_t dropped_at_ = 0;  // place of the first page behind the dropped ones
  size_t dropped_ = 0;     // pages
  int64_t spilled_ = 0;    // of pages_
};

// The spilled pages of the sequences in one step.
class SpilledPages {
 public:
  void Reserve(size_t pages) { slots_.reserve(pages); }
  void Clear() { slots_.clear(); }
  void Add(const PageTable& table);
  // Waits until they are in memory for one layer; the next layer is then being read.
  Status Fetch(int layer) const;

 private:
  SpillSpace* space_ = nullptr;
  std::vector<int32_t> slots_;
};

}  // namespace inkstone

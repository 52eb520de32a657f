// Paged KV cache: fixed-size pages with reference counts, and the page table of each sequence (Kwon et al. 2023).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "core/dtype.h"
#include "core/kv_vector.h"
#include "core/status.h"

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

using PageId = int32_t;

// All pages of one model; addresses are taken once, memory becomes resident as pages are used. Free pages keep theirs
// until GiveBack. A limit says how many may be in use; it can lie below what is in use, and then nothing is given out.
// Engine thread only.
class PagePool {
 public:
  static Result<PagePool> Create(Backend& backend, const KvLayout& layout, int64_t pages);

  const KvLayout& layout() const { return layout_; }
  int64_t total_pages() const { return static_cast<int64_t>(references_.size()); }
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
  void AddReference(PageId page);
  void Release(PageId page);  // free again when the last reference goes
  int references(PageId page) const { return references_[static_cast<size_t>(page)]; }
  // A cache holds one of the page's references. Pages that nobody else holds are idle: theirs to give back.
  void SetCached(PageId page, bool cached);
  int64_t idle_pages() const { return idle_; }

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
  std::vector<int> references_;  // by page
  std::vector<bool> cached_;     // by page
  int64_t idle_ = 0;             // cached, with one reference
};

// The pages of one sequence, in order. Releases them when destroyed. Movable; must not outlive its pool.
class PageTable {
 public:
  explicit PageTable(PagePool* pool) : pool_(pool) {}
  PageTable(PageTable&& other) noexcept;
  PageTable& operator=(PageTable&& other) noexcept;
  ~PageTable();

  // Makes room for `tokens` positions; on kResourceExhausted nothing has changed.
  Status Reserve(int64_t tokens);
  void Append(PageId page);              // takes over one reference
  void Replace(size_t at, PageId page);  // by a page with the same content, to which a reference is added
  void Clear();
  int64_t capacity() const;  // tokens
  const std::vector<PageId>& pages() const { return pages_; }
  const PagePool& pool() const { return *pool_; }

 private:
  PagePool* pool_;
  std::vector<PageId> pages_;
};

}  // namespace inkstone

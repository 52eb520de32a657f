#include "kvcache/page_pool.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "kvcache/spill_space.h"

namespace inkstone {

Result<PagePool> PagePool::Create(Backend& backend, const KvLayout& layout, int64_t pages) {
  INK_ASSIGN_OR_RETURN(DeviceBuffer memory, backend.Allocate(layout.page_bytes() * static_cast<size_t>(pages)));
  return PagePool(layout, std::move(memory), pages);
}

PagePool::PagePool(KvLayout layout, DeviceBuffer memory, int64_t pages)
    : layout_(layout),
      memory_(std::move(memory)),
      touched_(static_cast<size_t>(pages), false),
      limit_(pages),
      references_(pages) {
  free_.reserve(static_cast<size_t>(pages));
  for (int64_t page = pages - 1; page >= 0; --page) free_.push_back(static_cast<PageId>(page));
}

Result<PageId> PagePool::Allocate() {
  if (free_pages() == 0) {
    return ResourceExhausted("all " + std::to_string(limit_) + " pages of the KV cache are in use");
  }
  const PageId page = free_.back();
  free_.pop_back();
  references_.Take(page);
  if (touched_[static_cast<size_t>(page)]) --free_resident_;
  touched_[static_cast<size_t>(page)] = true;
  return page;
}

void PagePool::AddReference(PageId page) { IsSpilled(page) ? spill_->AddReference(~page) : references_.Add(page); }

void PagePool::Release(PageId page) {
  if (IsSpilled(page)) return spill_->Release(~page);
  if (!references_.Release(page)) return;
  free_.push_back(page);
  ++free_resident_;
}

int PagePool::references(PageId page) const {
  return IsSpilled(page) ? spill_->references(~page) : references_.count(page);
}

Result<PageId> PagePool::WriteToDisk(PageId page) const {
  INK_ASSIGN_OR_RETURN(const int32_t slot, spill_->Write({Keys(page, 0), layout_.page_bytes()}));
  return ~slot;
}

int64_t PagePool::GiveBack() {
  if (free_resident_ == 0) return 0;
  const auto free = [this](int64_t page) { return references_.count(static_cast<PageId>(page)) == 0; };
  // Neighbours together, so that what they share goes too.
  for (int64_t begin = 0; begin < total_pages(); ++begin) {
    if (!free(begin)) continue;
    int64_t end = begin;
    bool touched = false;
    for (; end < total_pages() && free(end); ++end) {
      touched = touched || touched_[static_cast<size_t>(end)];
      touched_[static_cast<size_t>(end)] = false;
    }
    const size_t size = layout_.page_bytes();
    if (touched) memory_.GiveBack(static_cast<size_t>(begin) * size, static_cast<size_t>(end - begin) * size);
    begin = end;
  }
  return std::exchange(free_resident_, 0);
}

void PagePool::SetCached(PageId page, bool cached) {
  IsSpilled(page) ? spill_->SetCached(~page, cached) : references_.SetCached(page, cached);
}

void PagePool::Copy(PageId from, PageId to) { std::memcpy(Keys(to, 0), Keys(from, 0), layout_.page_bytes()); }

std::byte* PagePool::Keys(PageId page, int layer) const {
  return memory_.data() + static_cast<size_t>(page) * layout_.page_bytes() +
         static_cast<size_t>(layer) * layout_.layer_bytes();
}

std::byte* PagePool::Values(PageId page, int layer) const { return Keys(page, layer) + layout_.key_bytes(); }

PageTable::PageTable(PageTable&& other) noexcept
    : pool_(other.pool_),
      pages_(std::exchange(other.pages_, {})),
      dropped_at_(std::exchange(other.dropped_at_, 0)),
      dropped_(std::exchange(other.dropped_, 0)),
      spilled_(std::exchange(other.spilled_, 0)) {}

PageTable& PageTable::operator=(PageTable&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(pages_, other.pages_);
  std::swap(dropped_at_, other.dropped_at_);
  std::swap(dropped_, other.dropped_);
  std::swap(spilled_, other.spilled_);
  return *this;
}

PageTable::~PageTable() { Clear(); }

Status PageTable::Reserve(int64_t tokens) {
  const int64_t wanted = pool_->layout().PagesFor(tokens) - static_cast<int64_t>(pages_.size() + dropped_);
  if (wanted > pool_->free_pages()) {
    return ResourceExhausted("the KV cache has " + std::to_string(pool_->free_pages()) + " free pages, needed " +
                             std::to_string(wanted));
  }
  for (int64_t i = 0; i < wanted; ++i) {
    INK_ASSIGN_OR_RETURN(const PageId page, pool_->Allocate());
    pages_.push_back(page);
  }
  return Status::Ok();
}

void PageTable::Append(PageId page) {
  pages_.push_back(page);
  spilled_ += IsSpilled(page) ? 1 : 0;
}

void PageTable::Replace(size_t at, PageId page) {
  pool_->AddReference(page);
  Release(pages_[at]);
  pages_[at] = page;
  spilled_ += IsSpilled(page) ? 1 : 0;
}

void PageTable::Release(PageId page) {
  pool_->Release(page);
  spilled_ -= IsSpilled(page) ? 1 : 0;
}

void PageTable::MoveToDisk(size_t at, PageId spilled) {
  pool_->Release(pages_[at]);
  pages_[at] = spilled;
  ++spilled_;
}

std::byte* PageTable::Keys(size_t at, int layer) const {
  const PageId page = pages_[at];
  return IsSpilled(page) ? pool_->spill()->Block(layer, ~page) : pool_->Keys(page, layer);
}

void PageTable::Drop(int64_t first, int64_t tokens) {
  const int64_t size = pool_->layout().page_tokens;
  const size_t more = static_cast<size_t>(tokens / size) - dropped_;
  if (more == 0) return;
  dropped_at_ = static_cast<size_t>(first / size);
  dropped_ += more;
  const auto begin = pages_.begin() + static_cast<std::ptrdiff_t>(dropped_at_);
  const auto end = begin + static_cast<std::ptrdiff_t>(more);
  std::for_each(begin, end, [this](PageId page) { Release(page); });
  pages_.erase(begin, end);
}

void PageTable::Clear() {
  for (const PageId page : pages_) Release(page);
  pages_.clear();
  dropped_at_ = dropped_ = 0;
}

int64_t PageTable::capacity() const {
  return static_cast<int64_t>(pages_.size() + dropped_) * pool_->layout().page_tokens;
}

int64_t PageTable::dropped_tokens() const { return static_cast<int64_t>(dropped_) * pool_->layout().page_tokens; }

std::optional<size_t> PageTable::Find(int64_t position) const {
  const size_t page = static_cast<size_t>(position / pool_->layout().page_tokens);
  if (page < dropped_at_ || dropped_ == 0) return page;
  if (page < dropped_at_ + dropped_) return std::nullopt;
  return page - dropped_;
}

void SpilledPages::Add(const PageTable& table) {
  if (table.spilled_pages() == 0) return;
  space_ = table.pool().spill();
  for (const PageId page : table.pages()) {
    if (IsSpilled(page)) slots_.push_back(~page);
  }
}

Status SpilledPages::Fetch(int layer) const { return slots_.empty() ? Status::Ok() : space_->Fetch(layer, slots_); }

}  // namespace inkstone

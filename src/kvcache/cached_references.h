// Reference counts of numbered things, one of which a cache may hold. What only the cache holds is idle: its to give
// up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace inkstone {

class CachedReferences {
 public:
  explicit CachedReferences(int64_t count)
      : counts_(static_cast<size_t>(count), 0), cached_(static_cast<size_t>(count), false) {}

  int64_t size() const { return static_cast<int64_t>(counts_.size()); }
  int count(int32_t id) const { return counts_[static_cast<size_t>(id)]; }
  bool cached(int32_t id) const { return cached_[static_cast<size_t>(id)]; }
  int64_t idle() const { return idle_; }

  // The first reference to what has none.
  void Take(int32_t id) { counts_[static_cast<size_t>(id)] = 1; }
  void Add(int32_t id) {
    if (++counts_[static_cast<size_t>(id)] == 2 && cached(id)) --idle_;
  }
  // Whether that was the last.
  bool Release(int32_t id) {
    const int left = --counts_[static_cast<size_t>(id)];
    if (left == 1 && cached(id)) ++idle_;
    return left == 0;
  }
  // Whether one of the references is the cache's.
  void SetCached(int32_t id, bool cached) {
    if (this->cached(id) == cached) return;
    cached_[static_cast<size_t>(id)] = cached;
    if (count(id) == 1) idle_ += cached ? 1 : -1;
  }

 private:
  std::vector<int> counts_;
  std::vector<bool> cached_;
  int64_t idle_ = 0;  // cached, with one reference
};

}  // namespace inkstone

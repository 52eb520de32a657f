// A list that is made once and then shared by all its copies: the choices of one request cost it once.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

namespace inkstone {

template <typename T>
class SharedList {
 public:
  SharedList() = default;
  SharedList(std::vector<T> items) {
    if (!items.empty()) items_ = std::make_shared<const std::vector<T>>(std::move(items));
  }
  SharedList(std::initializer_list<T> items) : SharedList(std::vector<T>(items)) {}

  bool empty() const { return items_ == nullptr; }
  size_t size() const { return empty() ? 0 : items_->size(); }
  const T* begin() const { return empty() ? nullptr : items_->data(); }
  const T* end() const { return begin() + size(); }
  const T& operator[](size_t index) const { return (*items_)[index]; }

 private:
  std::shared_ptr<const std::vector<T>> items_;  // null: empty
};

}  // namespace inkstone

// What all connections together may hold: bodies that are read and worked on, answers that are not sent. Event-loop
// thread only.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

namespace inkstone {

class BufferBudget {
 public:
  explicit BufferBudget(size_t bytes) : bytes_(bytes) {}
  size_t taken() const { return taken_; }

 private:
  friend class BufferShare;
  const size_t bytes_;
  size_t taken_ = 0;
};

// One holder's part of it, given back when destroyed.
class BufferShare {
 public:
  BufferShare() = default;  // of nothing
  explicit BufferShare(std::shared_ptr<BufferBudget> budget) : budget_(std::move(budget)) {}
  BufferShare(BufferShare&& other) noexcept
      : budget_(std::move(other.budget_)), bytes_(std::exchange(other.bytes_, 0)) {}
  BufferShare& operator=(BufferShare&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~BufferShare() { static_cast<void>(Resize(0)); }

  // False, with nothing changed, when the budget has no room for more.
  [[nodiscard]] bool Resize(size_t bytes) {
    if (budget_ == nullptr) return true;
    if (bytes > bytes_ && bytes - bytes_ > budget_->bytes_ - budget_->taken_) return false;
    budget_->taken_ = budget_->taken_ - bytes_ + bytes;
    bytes_ = bytes;
    return true;
  }
  size_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<BufferBudget> budget_;
  size_t bytes_ = 0;
};

}  // namespace inkstone

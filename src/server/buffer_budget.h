// What all connections together may hold: bodies that are read and worked on, answers that are not sent. Event-loop
// thread only.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace inkstone {

class BufferBudget {
 public:
  // What one client's shares take together, however many connections it has.
  struct Client {
    size_t taken = 0;
  };

  explicit BufferBudget(size_t bytes) : BufferBudget(bytes, bytes) {}
  // Of `bytes`, one client may have `per_client`.
  BufferBudget(size_t bytes, size_t per_client) : bytes_(bytes), per_client_(per_client) {}
  size_t taken() const { return taken_; }

  // The same for everybody who gives the same name, as long as somebody holds it.
  std::shared_ptr<Client> ClientNamed(const std::string& name) {
    std::erase_if(clients_, [](const auto& entry) { return entry.second.expired(); });
    std::weak_ptr<Client>& known = clients_[name];
    auto client = known.lock();
    if (!client) known = client = std::make_shared<Client>();
    return client;
  }

 private:
  friend class BufferShare;
  const size_t bytes_;
  const size_t per_client_;
  size_t taken_ = 0;
  std::map<std::string, std::weak_ptr<Client>> clients_;
};

// One holder's part of it, given back when destroyed.
class BufferShare {
 public:
  BufferShare() = default;  // of nothing
  explicit BufferShare(std::shared_ptr<BufferBudget> budget, std::shared_ptr<BufferBudget::Client> client = nullptr)
      : budget_(std::move(budget)), client_(std::move(client)) {}
  BufferShare(BufferShare&& other) noexcept
      : budget_(std::move(other.budget_)), client_(std::move(other.client_)), bytes_(std::exchange(other.bytes_, 0)) {}
  BufferShare& operator=(BufferShare&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(client_, other.client_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~BufferShare() { Clear(); }

  // False, with nothing changed, when the budget or the client's part of it has no room for more.
  [[nodiscard]] bool Resize(size_t bytes) {
    if (budget_ == nullptr) return true;
    if (bytes > bytes_ && (bytes - bytes_ > budget_->bytes_ - budget_->taken_ || ClientIsFull(bytes))) return false;
    Set(bytes);
    return true;
  }
  void Clear() {
    if (budget_ != nullptr) Set(0);
  }
  // Whether it is the client's own part that has no room for this size.
  bool ClientIsFull(size_t bytes) const {
    return client_ != nullptr && bytes > bytes_ && client_->taken + (bytes - bytes_) > budget_->per_client_;
  }
  size_t bytes() const { return bytes_; }

 private:
  void Set(size_t bytes) {
    budget_->taken_ = budget_->taken_ - bytes_ + bytes;
    if (client_) client_->taken = client_->taken - bytes_ + bytes;
    bytes_ = bytes;
  }

  std::shared_ptr<BufferBudget> budget_;
  std::shared_ptr<BufferBudget::Client> client_;
  size_t bytes_ = 0;
};

}  // namespace inkstone

#include "compress/write_queue.h"

#include <utility>

namespace inkstone {

WriteQueue::WriteQueue(int buffers, Sink sink)
    : buffers_(static_cast<size_t>(buffers)), sink_(std::move(sink)), free_(buffers_), writer_([this] { Loop(); }) {}

WriteQueue::~WriteQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  writer_.join();
}

Result<std::vector<std::byte>> WriteQueue::Acquire(size_t bytes) {
  std::vector<std::byte> buffer;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !free_.empty() || !error_.ok(); });
    if (!error_.ok()) return error_;
    buffer = std::move(free_.back());
    free_.pop_back();
  }
  buffer.resize(bytes);
  return buffer;
}

void WriteQueue::Submit(std::vector<std::byte> buffer) {
  {
    const std::lock_guard lock(mutex_);
    ready_.push_back(std::move(buffer));
  }
  changed_.notify_all();
}

Status WriteQueue::Drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return (ready_.empty() && !writing_) || !error_.ok(); });
  return error_;
}

void WriteQueue::Loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !ready_.empty(); });
    if (stop_) return;
    std::vector<std::byte> buffer = std::move(ready_.front());
    ready_.pop_front();
    writing_ = true;
    lock.unlock();
    Status status = sink_(buffer);
    lock.lock();
    writing_ = false;
    error_ = std::move(status);
    free_.push_back(std::move(buffer));
    changed_.notify_all();
    if (!error_.ok()) return;
  }
}

}  // namespace inkstone

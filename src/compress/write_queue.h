// Writes buffers in order on its own thread while the caller fills the next one. Memory is bounded by the number of
// buffers.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "core/status.h"

namespace inkstone {

class WriteQueue {
 public:
  using Sink = std::function<Status(std::span<const std::byte>)>;

  // `sink` is called on the writer thread only, in the order of Submit.
  WriteQueue(int buffers, Sink sink);
  // Drops what has not been written yet.
  ~WriteQueue();
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  // A free buffer of `bytes` bytes with any contents, waiting for one; or the first error of the sink.
  Result<std::vector<std::byte>> Acquire(size_t bytes);
  // Every acquired buffer is submitted, or dropped together with the queue.
  void Submit(std::vector<std::byte> buffer);
  // Waits until everything submitted is written. The first error of the sink.
  Status Drain();

 private:
  void Loop();

  const size_t buffers_;
  const Sink sink_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::vector<std::vector<std::byte>> free_;
  std::deque<std::vector<std::byte>> ready_;
  bool writing_ = false;
  bool stop_ = false;
  Status error_;

  std::thread writer_;  // last: it uses all of the above
};

}  // namespace inkstone

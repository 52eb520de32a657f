#include "core/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace inkstone {
namespace {

// Long enough to bridge the gap between two operations of one step, short enough not to heat an idle machine.
constexpr auto kSpinTime = std::chrono::microseconds(100);
constexpr int kPausesPerClockRead = 64;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until done() or the spin time is over; returns done().
template <typename Done>
bool SpinUntil(const Done& done) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (done()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return done();
}

}  // namespace

ThreadPool::ThreadPool(int threads, std::vector<std::vector<int>> places)
    : places_(std::move(places)), shares_(new Share[static_cast<size_t>(std::max(threads, 1))]) {
  threads = std::max(threads, 1);
  workers_.reserve(static_cast<size_t>(threads) - 1);
  for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { WorkerLoop(t); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    epoch_.fetch_add(1, std::memory_order_seq_cst);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(FunctionRef<void(int)> body) {
  if (workers_.empty()) return body(0);
  body_ = &body;
  pending_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  if (parked_.load(std::memory_order_seq_cst) > 0) {
    // The empty section orders this wake-up after a worker's last look at the epoch.
    { std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }
  body(0);
  const auto done = [this] { return pending_.load(std::memory_order_acquire) == 0; };
  while (!SpinUntil(done)) std::this_thread::yield();
}

std::span<const int> ThreadPool::Place(int thread) const {
  const size_t i = static_cast<size_t>(thread);
  return i < places_.size() ? std::span<const int>(places_[i]) : std::span<const int>();
}

void ThreadPool::WorkerLoop(int thread) {
  SetThreadCpus(Place(thread));  // a refusal costs only speed
  uint64_t seen = 0;
  const auto ready = [&] { return epoch_.load(std::memory_order_seq_cst) != seen; };
  while (true) {
    if (!SpinUntil(ready)) {
      std::unique_lock lock(mutex_);
      parked_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, ready);
      parked_.fetch_sub(1, std::memory_order_relaxed);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_) return;
    (*body_)(thread);
    pending_.fetch_sub(1, std::memory_order_release);
  }
}

void ThreadPool::ParallelFor(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t, int)> body) {
  grain = std::max<int64_t>(grain, 1);
  const auto run = [&](int64_t piece, int thread) {
    body(piece * grain, std::min((piece + 1) * grain, count), thread);
  };
  const int64_t pieces = (count + grain - 1) / grain;
  if (workers_.empty() || pieces <= 1) {
    for (int64_t piece = 0; piece < pieces; ++piece) run(piece, 0);
    return;
  }
  const int threads = size();
  for (int t = 0; t < threads; ++t) shares_[t].next.store(pieces * t / threads, std::memory_order_relaxed);
  Run([&](int thread) {
    for (int i = 0; i < threads; ++i) {
      const int owner = (thread + i) % threads;
      const int64_t end = pieces * (owner + 1) / threads;
      std::atomic<int64_t>& next = shares_[owner].next;
      while (next.load(std::memory_order_relaxed) < end) {
        if (const int64_t piece = next.fetch_add(1, std::memory_order_relaxed); piece < end) run(piece, thread);
      }
    }
  });
}

}  // namespace inkstone

// A fixed team of threads for fork-join work: the caller is thread 0, workers spin for a moment and then park.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

#include "core/thread_binding.h"

namespace inkstone {

// A non-owning reference to a callable; lives no longer than the call it is passed to.
template <typename Signature>
class FunctionRef;
template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>) FunctionRef(F&& f)  // NOLINT: implicit by design
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

class ThreadPool {
 public:
  // threads >= 1 counts the caller. Thread i is kept on the logical CPUs places[i]; without places, threads are left to
  // the scheduler. The caller is kept only while it holds what BindCaller returns.
  explicit ThreadPool(int threads, std::vector<std::vector<int>> places = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }
  bool pinned() const { return !places_.empty(); }

  // Keeps the calling thread, which is going to call Run, where thread 0 belongs. Threads that it starts meanwhile
  // would share that place, so it should start none.
  ThreadBinding BindCaller() const { return ThreadBinding(Place(0)); }

  // Calls body(thread) once on every thread, 0 <= thread < size(), and returns when all have finished.
  // Only one thread at a time may call it. The body must not throw.
  void Run(FunctionRef<void(int thread)> body);

  // Splits [0, count) into pieces of `grain`: body(begin, end, thread). Each thread goes through a share of
  // neighbouring pieces, so that what it reads goes on where it was, and then takes pieces of threads that are behind.
  // Which thread gets a piece varies; the pieces do not.
  void ParallelFor(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end, int thread)> body);

 private:
  static constexpr size_t kLines = 128;

  void WorkerLoop(int thread);
  std::span<const int> Place(int thread) const;

  const std::vector<std::vector<int>> places_;
  // Of ParallelFor: what each thread has not begun of its share.
  struct alignas(kLines) Share {
    std::atomic<int64_t> next{0};
  };
  const std::unique_ptr<Share[]> shares_;
  std::vector<std::thread> workers_;

  // What the caller writes, what finishing workers write, and what parking workers write are on cache lines of their
  // own (on pairs, which CPUs fetch together), so that no writer takes away a line that others spin on.
  alignas(kLines) std::atomic<uint64_t> epoch_{0};  // one step for each Run, and one for the end
  bool stop_ = false;                               // valid after a step of epoch_, as is body_
  const FunctionRef<void(int)>* body_ = nullptr;
  alignas(kLines) std::atomic<int> pending_{0};  // workers that have not finished the current Run
  alignas(kLines) std::atomic<int> parked_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace inkstone

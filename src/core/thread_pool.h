// A fixed team of threads for fork-join work: the caller is thread 0, workers spin for a moment and then park.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

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
  // threads >= 1 counts the caller. With `pin`, thread i is bound to the i-th allowed physical core.
  explicit ThreadPool(int threads, bool pin = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(thread) once on every thread, 0 <= thread < size(), and returns when all have finished.
  // Only one thread at a time may call it. The body must not throw.
  void Run(FunctionRef<void(int thread)> body);

  // Splits [0, count) into pieces of `grain` that threads take in turn: body(begin, end, thread).
  // Which thread gets a piece varies; the pieces do not.
  void ParallelFor(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end, int thread)> body);

 private:
  void WorkerLoop(int thread);

  std::vector<std::thread> workers_;
  const FunctionRef<void(int)>* body_ = nullptr;  // valid while a Run is in progress
  std::atomic<uint64_t> epoch_{0};                // one step for each Run
  std::atomic<int> pending_{0};                   // workers that have not finished the current Run
  std::atomic<int> parked_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace inkstone

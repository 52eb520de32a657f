// What a model runs on: mapped checkpoint, threads, backend. Opened once; models are loaded onto it.
#pragma once

#include <memory>
#include <string>

#include "backends/backend.h"
#include "backends/profiling_backend.h"
#include "core/status.h"
#include "core/thread_pool.h"
#include "formats/checkpoint.h"
#include "model/model.h"

namespace inkstone {

struct RuntimeOptions {
  int threads = 0;                  // 0: physical cores within the cgroup's quota
  std::string cpu;                  // kernel target, empty: the best that the CPU has
  OperationCosts* costs = nullptr;  // where backends keep count of their operations' time; borrowed, null: nowhere
};

// Threads and the backend; shared by the models of a process. Not movable: others keep references.
class Runtime {
 public:
  // kInvalidArgument for an unknown or impossible kernel target.
  static Result<std::unique_ptr<Runtime>> Create(const RuntimeOptions& options);

  ThreadPool& threads() { return threads_; }
  const KernelTable& kernels() const { return *kernels_; }
  // A backend of its own for each model: it holds the model's step buffers.
  std::unique_ptr<Backend> NewBackend();

 private:
  Runtime(const KernelTable* kernels, int threads, OperationCosts* costs)
      : kernels_(kernels), costs_(costs), threads_(threads, true) {}

  const KernelTable* kernels_;
  OperationCosts* costs_;
  ThreadPool threads_;
};

// A model with everything that it borrows, in the order in which it must go.
struct LoadedModel {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
};

Result<LoadedModel> LoadModel(const std::string& path, Runtime& runtime, const ModelLimits& limits);

}  // namespace inkstone

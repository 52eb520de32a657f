// What a model runs on: mapped checkpoint, threads, backend. Opened once; models are loaded onto it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "backends/profiling_backend.h"
#include "core/cpu_topology.h"
#include "core/status.h"
#include "core/thread_pool.h"
#include "formats/checkpoint.h"
#include "model/model.h"

namespace inkstone {

struct RuntimeOptions {
  int threads = 0;  // 0: DefaultThreads
  std::string cpu;  // kernel target, empty: the best that the CPU has
  Pinning pinning = Pinning::kAuto;
  OperationCosts* costs = nullptr;  // where backends keep count of their operations' time; borrowed, null: nowhere
};

// Threads and the backend; shared by the models of a process. Not movable: others keep references.
class Runtime {
 public:
  // kInvalidArgument for an unknown or impossible kernel target, and for pinning that PlaceThreads refuses.
  static Result<std::unique_ptr<Runtime>> Create(const RuntimeOptions& options);

  ThreadPool& threads() { return threads_; }
  const KernelTable& kernels() const { return *kernels_; }
  // A backend of its own for each model: it holds the model's step buffers.
  std::unique_ptr<Backend> NewBackend();

 private:
  Runtime(const KernelTable* kernels, int threads, std::vector<std::vector<int>> places, OperationCosts* costs)
      : kernels_(kernels), costs_(costs), threads_(threads, std::move(places)) {}

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

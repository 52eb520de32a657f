#include "model/runtime.h"

#include <utility>

#include "backends/cpu/cpu_backend.h"
#include "core/cpu_info.h"
#include "core/cpu_topology.h"

namespace inkstone {

Result<std::unique_ptr<Runtime>> Runtime::Create(const RuntimeOptions& options) {
  INK_ASSIGN_OR_RETURN(const KernelTable* kernels, SelectKernels(options.cpu, DetectCpuFeatures()));
  const int threads = options.threads > 0 ? options.threads : DefaultThreads();
  INK_ASSIGN_OR_RETURN(auto places, PlaceThreads(threads, options.pinning));
  return std::unique_ptr<Runtime>(new Runtime(kernels, threads, std::move(places), options.costs));
}

std::unique_ptr<Backend> Runtime::NewBackend() {
  auto backend = MakeCpuBackend(*kernels_, &threads_);
  return costs_ != nullptr ? MakeProfilingBackend(std::move(backend), costs_) : std::move(backend);
}

Result<LoadedModel> LoadModel(const std::string& path, Runtime& runtime, const ModelLimits& limits) {
  LoadedModel loaded;
  INK_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(path));
  loaded.checkpoint = std::make_unique<Checkpoint>(std::move(checkpoint));
  loaded.backend = runtime.NewBackend();
  INK_ASSIGN_OR_RETURN(loaded.model, Model::Load(*loaded.checkpoint, *loaded.backend, limits));
  return loaded;
}

}  // namespace inkstone

// The CPU backend: KernelTable functions spread over a thread pool.
#pragma once

#include <memory>
#include <string_view>

#include "backends/backend.h"
#include "core/thread_pool.h"

namespace inkstone {

// `pool` is borrowed and must outlive the backend.
std::unique_ptr<Backend> MakeCpuBackend(const KernelTable& kernels, ThreadPool* pool);

}  // namespace inkstone

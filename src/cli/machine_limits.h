// What bounds speed on this machine: reading memory while generating, arithmetic while processing a prompt.
#pragma once

#include <string_view>

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace inkstone {

// GB/s (1e9 bytes) of reading with all threads of the pool over a buffer beyond the caches: the best of several passes
// of several ways (sequential streams side by side, prefetch distances, small and huge pages), so that no program
// should read faster. Takes two to six seconds and up to 1 GB of memory for that time (less when less is free); 0 when
// there is no memory for it.
double MeasureReadLimit(ThreadPool* threads);

struct ArithmeticLimit {
  double tflops = 0;  // 0: the target has no such bound
  std::string_view instruction;
};
// What the target's multiplications alone reach with all threads in a prompt with weights of a type
// (KernelTable::multiply_only); the best of several passes, a tenth of a second.
ArithmeticLimit MeasureArithmeticLimit(ThreadPool* threads, const KernelTable& kernels, DType weight);

}  // namespace inkstone

// What bounds speed on this machine: reading memory while generating, arithmetic while processing a prompt.
#pragma once

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace inkstone {

// GB/s (1e9 bytes) of reading with all threads of the pool over a buffer beyond the caches: the best of several passes
// of several ways (sequential streams side by side, prefetch distances, small and huge pages), so that no program
// should read faster. Takes two to six seconds and up to 1 GB of memory for that time (less when less is free); 0 when
// there is no memory for it.
double MeasureReadLimit(ThreadPool* threads);

// TFLOP/s of the target's multiplications alone (KernelTable::multiply_only) with all threads; the best of several
// passes, a tenth of a second. 0 when the target has no such bound.
double MeasureArithmeticLimit(ThreadPool* threads, const KernelTable& kernels);

}  // namespace inkstone

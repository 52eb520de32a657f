// How fast this machine reads memory: the bound of token generation.
#pragma once

#include "core/thread_pool.h"

namespace inkstone {

// GB/s (1e9 bytes) of plain sequential reading with all threads of the pool over a buffer beyond the caches; the best
// of several passes. Takes about half a second and up to 1 GB of memory for that time (less when less is free); 0 when
// there is no memory for it.
double MeasureReadLimit(ThreadPool* threads);

}  // namespace inkstone

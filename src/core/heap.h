// What the allocator keeps of memory that nobody uses.
#pragma once

#include <cstdlib>  // __GLIBC__

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace inkstone {

// Gives the free pages of all heaps back to the system, where the allocator can: those of a large request would count
// as the process's own otherwise. Takes about a millisecond for each 10 MB that are free.
inline void ReturnFreeMemory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace inkstone

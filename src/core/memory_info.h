// How much memory the machine has, what this process may still take, and what it takes now.
#pragma once

#include <cstdint>

namespace inkstone {

struct MemoryInfo {
  uint64_t total;      // bytes: physical memory, or the cgroup's or RLIMIT_AS limit where lower
  uint64_t available;  // bytes that can be taken now without swapping, within every limit
};
MemoryInfo GetMemoryInfo();

struct ProcessMemory {
  uint64_t resident;       // bytes now, mapped file pages included
  uint64_t peak_resident;  // bytes, high-water mark
};
ProcessMemory GetProcessMemory();

}  // namespace inkstone

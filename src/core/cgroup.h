// Limits that the control group (v2, or v1) puts on this process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace inkstone {

// CPUs' worth of time, e.g. 1.5; nullopt when unlimited. The tightest of this group and its parents.
std::optional<double> CgroupCpuQuota();

// Folders of the groups around this process that may limit its memory, each hierarchy from the inside out.
struct CgroupFolder {
  std::string path;
  bool v2;
};
std::vector<CgroupFolder> CgroupMemoryFolders();

struct CgroupMemory {
  uint64_t limit;  // bytes: memory.max, or memory.high where lower
  uint64_t used;   // bytes, page cache that can be reclaimed not counted
};
// The group (this one or a parent) that leaves the least room; nullopt when none has a limit.
std::optional<CgroupMemory> CgroupMemoryLimit();

}  // namespace inkstone

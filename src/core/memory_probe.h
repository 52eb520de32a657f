// Memory as the system sees it, read often and cheaply (some 30 microseconds): for decisions while running.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/cgroup.h"
#include "core/proc_file.h"

namespace inkstone {

constexpr uint64_t kNoMemoryLimit = std::numeric_limits<uint64_t>::max();

struct MemorySample {
  uint64_t resident = 0;       // bytes of this process
  uint64_t file_resident = 0;  // of them, mapped files: weights, and the program itself
  uint64_t total = 0;          // of the machine
  uint64_t available = 0;      // of the machine: can be taken without swapping, page cache included
  // The tightest of the control groups around this process, by what is left; kNoMemoryLimit: none has a limit.
  uint64_t group_limit = kNoMemoryLimit;  // memory.max, or memory.high where lower
  uint64_t group_used = 0;                // without its page cache
  uint64_t group_cache = 0;               // its page cache
  double stalled = 0;  // percent of the last ten seconds in which all work waited for memory (PSI); 0 where unknown
};

// One thread at a time.
class MemoryProbe {
 public:
  explicit MemoryProbe(const std::vector<CgroupFolder>& groups = CgroupMemoryFolders());
  MemorySample Read();

 private:
  struct Group {
    bool v2;
    ProcFile limit, high, used, stat;
  };
  void ReadGroup(Group* group, MemorySample* sample);

  ProcFile statm_, meminfo_, pressure_;
  std::vector<Group> groups_;
};

// Bytes of [data, data + size) that are in memory: of anonymous memory, those that this process has touched.
uint64_t ResidentBytes(std::span<const std::byte> memory);
// Of mapped files, by address: bytes that are in this process's resident set. Walks all mappings, a millisecond for
// each gigabyte or so; 0 where the system does not tell.
uint64_t MappedResidentBytes(std::span<const std::span<const std::byte>> mappings);

}  // namespace inkstone

#include "core/memory_info.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "core/cgroup.h"

namespace inkstone {
namespace {

// Bytes of a "Name:   123 kB" line; 0 when absent.
uint64_t ReadKilobytes(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(key + ":", 0) == 0) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

void Tighten(MemoryInfo* info, uint64_t limit, uint64_t used) {
  info->total = std::min(info->total, limit);
  info->available = std::min(info->available, limit > used ? limit - used : 0);
}

}  // namespace

MemoryInfo GetMemoryInfo() {
  MemoryInfo info{ReadKilobytes("/proc/meminfo", "MemTotal"), ReadKilobytes("/proc/meminfo", "MemAvailable")};
  if (const auto group = CgroupMemoryLimit()) Tighten(&info, group->limit, group->used);
  struct rlimit limit {};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    Tighten(&info, limit.rlim_cur, ReadKilobytes("/proc/self/status", "VmSize"));
  }
  return info;
}

ProcessMemory GetProcessMemory() {
  return {ReadKilobytes("/proc/self/status", "VmRSS"), ReadKilobytes("/proc/self/status", "VmHWM")};
}

}  // namespace inkstone

#include "core/memory_probe.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

namespace inkstone {
namespace {

const uint64_t kSystemPage = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));

// "full avg10=1.25 ..." of a pressure file.
double FullPressure(std::string_view text) {
  constexpr std::string_view kKey = "full avg10=";
  const size_t at = text.find(kKey);
  if (at == std::string_view::npos) return 0;
  return std::strtod(std::string(text.substr(at + kKey.size(), 8)).c_str(), nullptr);
}

// Of the innermost group that has one, else the machine's.
std::string PressureFile(const std::vector<CgroupFolder>& groups) {
  for (const CgroupFolder& folder : groups) {
    const std::string path = folder.path + "/memory.pressure";
    if (folder.v2 && ::access(path.c_str(), R_OK) == 0) return path;
  }
  return "/proc/pressure/memory";
}

}  // namespace

MemoryProbe::MemoryProbe(const std::vector<CgroupFolder>& groups)
    : statm_("/proc/self/statm"), meminfo_("/proc/meminfo"), pressure_(PressureFile(groups)) {
  for (const auto& [path, v2] : groups) {
    groups_.push_back(v2 ? Group{true, ProcFile(path + "/memory.max"), ProcFile(path + "/memory.high"),
                                 ProcFile(path + "/memory.current"), ProcFile(path + "/memory.stat")}
                         : Group{false, ProcFile(path + "/memory.limit_in_bytes"), ProcFile(""),
                                 ProcFile(path + "/memory.usage_in_bytes"), ProcFile(path + "/memory.stat")});
    if (!groups_.back().limit.ok()) groups_.pop_back();  // the root of v2 has no limit
  }
}

MemorySample MemoryProbe::Read() {
  MemorySample sample;
  unsigned long long size = 0, resident = 0, shared = 0;
  if (std::sscanf(std::string(statm_.Read()).c_str(), "%llu %llu %llu", &size, &resident, &shared) == 3) {
    sample.resident = resident * kSystemPage;
    sample.file_resident = shared * kSystemPage;
  }
  const std::string_view meminfo = meminfo_.Read();
  sample.total = NumberAfter(meminfo, "MemTotal") * 1024;
  sample.available = NumberAfter(meminfo, "MemAvailable") * 1024;
  for (Group& group : groups_) ReadGroup(&group, &sample);
  sample.stalled = FullPressure(pressure_.Read());
  return sample;
}

void MemoryProbe::ReadGroup(Group* group, MemorySample* sample) {
  uint64_t limit = group->limit.ReadNumber().value_or(kNoMemoryLimit);
  limit = std::min(limit, group->high.ReadNumber().value_or(kNoMemoryLimit));
  if (limit >= (uint64_t{1} << 60)) return;  // v1's way to say unlimited
  const std::string_view stat = group->stat.Read();
  const char* const prefix = group->v2 ? "" : "total_";
  const uint64_t cache =
      NumberAfter(stat, std::string(prefix) + "inactive_file") + NumberAfter(stat, std::string(prefix) + "active_file");
  const uint64_t all = group->used.ReadNumber().value_or(0);
  const uint64_t used = all > cache ? all - cache : 0;
  const auto room = [](uint64_t of, uint64_t taken) { return of > taken ? of - taken : 0; };
  if (room(limit, used) >= room(sample->group_limit, sample->group_used)) return;
  sample->group_limit = limit;
  sample->group_used = used;
  sample->group_cache = cache;
}

uint64_t ResidentBytes(std::span<const std::byte> memory) {
  if (memory.empty()) return 0;
  const uint64_t begin = reinterpret_cast<uint64_t>(memory.data()) / kSystemPage * kSystemPage;
  const uint64_t end = reinterpret_cast<uint64_t>(memory.data()) + memory.size();
  std::vector<unsigned char> pages((end - begin + kSystemPage - 1) / kSystemPage);
  if (::mincore(reinterpret_cast<void*>(begin), end - begin, pages.data()) != 0) return 0;
  return kSystemPage *
         static_cast<uint64_t>(std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return (p & 1) != 0; }));
}

uint64_t MappedResidentBytes(std::span<const std::span<const std::byte>> mappings) {
  std::ifstream in("/proc/self/smaps");
  uint64_t bytes = 0;
  bool ours = false;
  for (std::string line; std::getline(in, line);) {
    unsigned long long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx ", &begin, &end) == 2) {
      ours = std::any_of(mappings.begin(), mappings.end(), [&](std::span<const std::byte> m) {
        const auto at = reinterpret_cast<uint64_t>(m.data());
        return begin < at + m.size() && end > at;
      });
    } else if (ours && line.starts_with("Rss:")) {
      bytes += NumberAfter(line, "Rss") * 1024;
    }
  }
  return bytes;
}

}  // namespace inkstone

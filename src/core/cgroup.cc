#include "core/cgroup.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace inkstone {
namespace {

namespace fs = std::filesystem;

std::optional<uint64_t> ReadNumber(const fs::path& path) {
  std::ifstream in(path);
  uint64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;  // missing, or "max"
}

// The value of `key` in a "key value" file such as memory.stat.
uint64_t ReadKeyed(const fs::path& path, const std::string& key) {
  std::ifstream in(path);
  std::string name;
  uint64_t value = 0;
  while (in >> name >> value) {
    if (name == key) return value;
  }
  return 0;
}

// The folder of this process's group in the hierarchy of `controller` ("" for v2), then its parents up to the mount.
std::vector<fs::path> GroupFolders(const std::string& controller) {
  const fs::path mount = controller.empty() ? "/sys/fs/cgroup" : "/sys/fs/cgroup/" + controller;
  std::vector<fs::path> folders;
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controller.empty() ? names != ",," : names.find("," + controller + ",") == std::string::npos) continue;
    for (fs::path group = fs::path(line.substr(second + 1)).relative_path(); !group.empty();
         group = group.parent_path()) {
      folders.push_back(mount / group);
    }
  }
  folders.push_back(mount);
  return folders;
}

std::optional<double> QuotaOf(const fs::path& v2_file) {
  std::ifstream in(v2_file);
  double quota = 0;
  double period = 0;
  if (in >> quota >> period && quota > 0 && period > 0) return quota / period;
  return std::nullopt;
}

}  // namespace

std::vector<CgroupFolder> CgroupMemoryFolders() {
  std::vector<CgroupFolder> folders;
  for (const fs::path& folder : GroupFolders("")) folders.push_back({folder.string(), true});
  for (const fs::path& folder : GroupFolders("memory")) folders.push_back({folder.string(), false});
  return folders;
}

std::optional<double> CgroupCpuQuota() {
  std::optional<double> tightest;
  const auto consider = [&](std::optional<double> quota) {
    if (quota && (!tightest || *quota < *tightest)) tightest = quota;
  };
  for (const fs::path& folder : GroupFolders("")) consider(QuotaOf(folder / "cpu.max"));
  for (const fs::path& folder : GroupFolders("cpu")) {
    const auto quota = ReadNumber(folder / "cpu.cfs_quota_us");
    const auto period = ReadNumber(folder / "cpu.cfs_period_us");
    // v1 writes "-1" for unlimited, which wraps to a huge number.
    if (quota && period && *period > 0 && *quota < (uint64_t{1} << 40)) {
      consider(static_cast<double>(*quota) / static_cast<double>(*period));
    }
  }
  return tightest;
}

std::optional<CgroupMemory> CgroupMemoryLimit() {
  std::optional<CgroupMemory> tightest;
  const auto consider = [&](uint64_t limit, uint64_t used, uint64_t reclaimable) {
    if (limit >= (uint64_t{1} << 60)) return;  // v1's way to say unlimited
    used -= reclaimable < used ? reclaimable : used;
    const auto room = [](const CgroupMemory& m) { return m.limit > m.used ? m.limit - m.used : 0; };
    const CgroupMemory memory{limit, used};
    if (!tightest || room(memory) < room(*tightest)) tightest = memory;
  };
  for (const fs::path& folder : GroupFolders("")) {
    constexpr uint64_t kNone = uint64_t{1} << 60;
    const uint64_t limit = std::min(ReadNumber(folder / "memory.max").value_or(kNone),
                                    ReadNumber(folder / "memory.high").value_or(kNone));  // beyond it all is throttled
    const uint64_t file =
        ReadKeyed(folder / "memory.stat", "inactive_file") + ReadKeyed(folder / "memory.stat", "active_file");
    consider(limit, ReadNumber(folder / "memory.current").value_or(0), file);
  }
  for (const fs::path& folder : GroupFolders("memory")) {
    const auto limit = ReadNumber(folder / "memory.limit_in_bytes");
    if (!limit) continue;
    const uint64_t file = ReadKeyed(folder / "memory.stat", "total_inactive_file") +
                          ReadKeyed(folder / "memory.stat", "total_active_file");
    consider(*limit, ReadNumber(folder / "memory.usage_in_bytes").value_or(0), file);
  }
  return tightest;
}

}  // namespace inkstone

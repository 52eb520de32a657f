#include "core/cpu_topology.h"

#include <hwloc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <tuple>

#include "core/cgroup.h"
#include "core/thread_binding.h"

namespace inkstone {
namespace {

// A core with less than this part of the largest core's capacity (as Linux rates Arm cores) is an efficiency core.
constexpr double kEfficiencyCapacity = 0.5;

struct DestroyTopology {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};
using TopologyPtr = std::unique_ptr<hwloc_topology, DestroyTopology>;

// Null when hwloc cannot tell.
TopologyPtr LoadTopology() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return nullptr;
  TopologyPtr topology(raw);
  // Otherwise discovery may send the calling thread from one CPU to the next.
  hwloc_topology_set_flags(raw, HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING);
  return hwloc_topology_load(raw) == 0 ? std::move(topology) : nullptr;
}

// What hwloc says of one kind of cores.
struct CoreKind {
  int rank = -1;  // the higher the faster; -1: unknown
  bool atom = false;
  double capacity = 0;  // 0: unknown
};

std::vector<CoreKind> CoreKinds(hwloc_topology_t topology) {
  std::vector<CoreKind> kinds(static_cast<size_t>(std::max(hwloc_cpukinds_get_nr(topology, 0), 0)));
  for (size_t i = 0; i < kinds.size(); ++i) {
    unsigned count = 0;
    hwloc_info_s* infos = nullptr;
    hwloc_cpukinds_get_info(topology, static_cast<unsigned>(i), nullptr, &kinds[i].rank, &count, &infos, 0);
    for (const hwloc_info_s& info : std::span(infos, count)) {
      const std::string_view value = info.value;
      if (std::strcmp(info.name, "CoreType") == 0) kinds[i].atom = value == "IntelAtom";
      if (std::strcmp(info.name, "LinuxCapacity") == 0) {
        std::from_chars(value.data(), value.data() + value.size(), kinds[i].capacity);
      }
    }
  }
  return kinds;
}

PhysicalCore Describe(hwloc_obj_t core) {
  PhysicalCore described;
  const int node = core->nodeset != nullptr ? hwloc_bitmap_first(core->nodeset) : -1;
  described.node = std::max(node, 0);
  for (hwloc_obj_t above = core; above != nullptr; above = above->parent) {
    if (above->type == HWLOC_OBJ_L2CACHE) described.l2_bytes = above->attr->cache.size;
    if (above->type == HWLOC_OBJ_L3CACHE) described.l3_bytes = above->attr->cache.size;
  }
  return described;
}

// Cores where a default team of threads goes; they are the first ones.
size_t TeamCores(const std::vector<PhysicalCore>& cores) {
  const auto fast = std::count_if(cores.begin(), cores.end(), [](const PhysicalCore& c) { return !c.efficiency; });
  return fast >= 2 ? static_cast<size_t>(fast) : cores.size();
}

CpuShare LookUpShare() {
  CpuShare share;
  share.quota = CgroupCpuQuota();
  const std::vector<int> cpus = ThreadCpus();
  if (const TopologyPtr topology = LoadTopology()) share.cores = CoresOf(topology.get(), cpus);
  if (!share.cores.empty()) return share;
  for (const int cpu : cpus) share.cores.push_back({.cpus = {cpu}});
  if (!share.cores.empty()) return share;
  for (int cpu = 0; cpu < static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u)); ++cpu) {
    share.cores.push_back({.cpus = {cpu}});
  }
  return share;
}

}  // namespace

std::vector<PhysicalCore> CoresOf(hwloc_topology* topology, std::span<const int> cpus) {
  const std::vector<CoreKind> kinds = CoreKinds(topology);
  double largest = 0;
  for (const CoreKind& kind : kinds) largest = std::max(largest, kind.capacity);
  const hwloc_const_cpuset_t allowed = hwloc_topology_get_allowed_cpuset(topology);

  struct Ranked {
    PhysicalCore core;
    int rank = -1;
    auto order() const { return std::tuple(core.efficiency, core.node, -rank); }
  };
  std::vector<Ranked> ranked;
  hwloc_obj_t last = nullptr;
  // The threads of a core follow each other in hwloc's order, and so do neighbouring cores.
  for (hwloc_obj_t pu = nullptr; (pu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, pu)) != nullptr;) {
    const int cpu = static_cast<int>(pu->os_index);
    if (!hwloc_bitmap_isset(allowed, pu->os_index) || std::find(cpus.begin(), cpus.end(), cpu) == cpus.end()) continue;
    hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
    if (core == nullptr) core = pu;  // a virtual machine may hide its cores
    if (core != last) {
      Ranked next{.core = Describe(core)};
      const int kind = hwloc_cpukinds_get_by_cpuset(topology, pu->cpuset, 0);
      if (kind >= 0) {
        const CoreKind& k = kinds[static_cast<size_t>(kind)];
        next.rank = k.rank;
        next.core.efficiency = k.atom || (k.capacity > 0 && k.capacity < kEfficiencyCapacity * largest);
      }
      ranked.push_back(std::move(next));
    }
    last = core;
    ranked.back().core.cpus.push_back(cpu);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const Ranked& a, const Ranked& b) { return a.order() < b.order(); });
  std::vector<PhysicalCore> cores;
  cores.reserve(ranked.size());
  for (Ranked& r : ranked) cores.push_back(std::move(r.core));
  return cores;
}

const CpuShare& MachineShare() {
  static const CpuShare share = LookUpShare();
  return share;
}

int DefaultThreads(const CpuShare& share) {
  double threads = static_cast<double>(TeamCores(share.cores));
  if (share.quota) threads = std::min(threads, std::ceil(*share.quota));
  return std::max(static_cast<int>(threads), 1);
}

Result<Pinning> PinningFromName(std::string_view name) {
  if (name == "auto") return Pinning::kAuto;
  if (name == "on") return Pinning::kOn;
  if (name == "off") return Pinning::kOff;
  return InvalidArgument("pinning: expected auto, on or off, found '" + std::string(name) + "'");
}

Result<std::vector<std::vector<int>>> PlaceThreads(int threads, Pinning pinning, const CpuShare& share) {
  std::vector<std::vector<int>> places;
  if (pinning == Pinning::kOff) return places;
  const size_t wanted = static_cast<size_t>(std::max(threads, 1));
  const size_t cores = share.cores.size();
  if (wanted > cores && pinning == Pinning::kOn) {
    return InvalidArgument("pinning needs a physical core for each thread: expected at most " + std::to_string(cores) +
                           " threads, found " + std::to_string(threads));
  }
  if (wanted > cores) return places;
  const bool has_all = wanted >= TeamCores(share.cores);
  const bool limited = share.quota && *share.quota < static_cast<double>(cores);
  if (pinning == Pinning::kAuto && (!has_all || limited)) return places;
  for (size_t i = 0; i < wanted; ++i) places.push_back(share.cores[i].cpus);
  return places;
}

}  // namespace inkstone

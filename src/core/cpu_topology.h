// The physical cores that this process may use, and which of them its threads are kept on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/status.h"

struct hwloc_topology;

namespace inkstone {

struct PhysicalCore {
  std::vector<int> cpus;    // its logical CPUs that this process may use, by the system's numbers; at least one
  int node = 0;             // NUMA node, by the system's number
  bool efficiency = false;  // one of the small cores of a hybrid CPU
  uint64_t l2_bytes = 0;    // of the cache that this core uses, alone or with others; 0: unknown or none
  uint64_t l3_bytes = 0;
};

// The cores with a logical CPU in `cpus`, in the order in which threads take them: performance cores before efficiency
// cores, one NUMA node after the other, within a node the faster kind first, else neighbours together. `topology` is a
// loaded hwloc_topology_t.
std::vector<PhysicalCore> CoresOf(hwloc_topology* topology, std::span<const int> cpus);

// What this process may use of the machine.
struct CpuShare {
  std::vector<PhysicalCore> cores;  // never empty in MachineShare
  std::optional<double> quota;      // CPUs' worth of time, of the control group; nullopt: unlimited
};
// Looked up once, by the first call: the cores of the control group's CPU set that are in the affinity mask of the
// thread that calls. Thread-safe.
const CpuShare& MachineShare();

// Threads worth starting: one for each performance core (each core, when fewer than two are performance cores), no more
// than the quota, rounded up; at least 1. Efficiency cores are left out because all threads wait for the slowest at
// each operation's end.
int DefaultThreads(const CpuShare& share = MachineShare());

// Whether threads are kept on cores of their own.
enum class Pinning : uint8_t { kAuto, kOn, kOff };
// "auto", "on" or "off"; kInvalidArgument otherwise.
Result<Pinning> PinningFromName(std::string_view name);

// The rule of pinning, all of it: element i is where thread i is kept, any logical CPU of the i-th core; empty when
// threads are left to the scheduler.
//
// Pinning keeps each thread beside its caches and memory, and two threads off one core. It also takes from the
// scheduler the choice of moving a thread away from a core that another program keeps busy, and since all threads wait
// for the last at each operation's end, one such core slows all. So kAuto pins only a process that has the machine to
// itself as far as it can tell:
//  - there is a core for each thread: two threads on one core would run one after the other;
//  - the threads take all performance cores (all cores, when fewer than two are): a process with fewer threads shares
//    the machine, often with another of its kind, and both would choose the same cores and leave the others idle;
//  - the control group's quota is not below the number of cores: it means that others run on the same cores, and each
//    pause that it forces would end on a core that meanwhile is someone else's.
// kOn asks for the first of these only; kInvalidArgument when it is not given.
Result<std::vector<std::vector<int>>> PlaceThreads(int threads, Pinning pinning,
                                                   const CpuShare& share = MachineShare());

}  // namespace inkstone

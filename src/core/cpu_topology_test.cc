#include "core/cpu_topology.h"

#include <gtest/gtest.h>
#include <hwloc.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include "core/thread_binding.h"

namespace inkstone {
namespace {

std::vector<int> UpTo(int count) {
  std::vector<int> cpus(static_cast<size_t>(count));
  std::iota(cpus.begin(), cpus.end(), 0);
  return cpus;
}

// A made-up machine in hwloc's notation, such as "node:2 l3:1 core:4 pu:2".
class Machine {
 public:
  explicit Machine(const char* description) {
    EXPECT_EQ(hwloc_topology_init(&topology_), 0);
    hwloc_topology_set_flags(topology_, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    EXPECT_EQ(hwloc_topology_set_synthetic(topology_, description), 0) << description;
    EXPECT_EQ(hwloc_topology_load(topology_), 0) << description;
  }
  ~Machine() { hwloc_topology_destroy(topology_); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Says of CPUs [begin, end) what Linux would.
  void SetKind(unsigned begin, unsigned end, int rank, const char* name, const char* value) {
    hwloc_bitmap_t cpus = hwloc_bitmap_alloc();
    hwloc_bitmap_set_range(cpus, begin, static_cast<int>(end) - 1);
    std::string name_copy = name;
    std::string value_copy = value;
    hwloc_info_s info{name_copy.data(), value_copy.data()};
    EXPECT_EQ(hwloc_cpukinds_register(topology_, cpus, rank, 1, &info, 0), 0);
    hwloc_bitmap_free(cpus);
  }
  // What a control group's CPU set does: the other CPUs stay known, or go when `forget`.
  void Allow(std::initializer_list<unsigned> allowed, bool forget) {
    hwloc_bitmap_t cpus = hwloc_bitmap_alloc();
    for (const unsigned cpu : allowed) hwloc_bitmap_set(cpus, cpu);
    EXPECT_EQ(forget ? hwloc_topology_restrict(topology_, cpus, 0)
                     : hwloc_topology_allow(topology_, cpus, nullptr, HWLOC_ALLOW_FLAG_CUSTOM),
              0);
    hwloc_bitmap_free(cpus);
  }

  std::vector<PhysicalCore> Cores(const std::vector<int>& mask = UpTo(64)) const { return CoresOf(topology_, mask); }

 private:
  hwloc_topology_t topology_ = nullptr;
};

using Sets = std::vector<std::vector<int>>;

Sets CpusOf(const std::vector<PhysicalCore>& cores) {
  Sets cpus;
  for (const PhysicalCore& core : cores) cpus.push_back(core.cpus);
  return cpus;
}

TEST(CpuTopologyTest, OneEntryForEachCoreNodeByNode) {
  const auto cores = Machine("node:2 l3:1(size=33554432) l2:4(size=1048576) core:1 pu:2").Cores();
  EXPECT_EQ(CpusOf(cores), (Sets{{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}, {10, 11}, {12, 13}, {14, 15}}));
  for (size_t i = 0; i < cores.size(); ++i) {
    EXPECT_EQ(cores[i].node, i < 4 ? 0 : 1);
    EXPECT_EQ(cores[i].l2_bytes, uint64_t{1} << 20);
    EXPECT_EQ(cores[i].l3_bytes, uint64_t{32} << 20);
    EXPECT_FALSE(cores[i].efficiency);
  }
  EXPECT_EQ(Machine("core:2 pu:1").Cores().front().l3_bytes, 0u);
}

TEST(CpuTopologyTest, FillsANodeThoughNumbersAlternateBetweenNodes) {
  // As many servers count: the first threads of all cores, the nodes in turn, then the second threads.
  const auto cores = Machine("node:2 core:2 pu:2(indexes=0,4,2,6,1,5,3,7)").Cores();
  EXPECT_EQ(CpusOf(cores), (Sets{{0, 4}, {2, 6}, {1, 5}, {3, 7}}));
  EXPECT_EQ(cores[1].node, 0);
  EXPECT_EQ(cores[2].node, 1);
}

TEST(CpuTopologyTest, KeepsToTheMaskAndToTheCpuSet) {
  Machine machine("node:2 l3:1 core:4 pu:2");
  EXPECT_EQ(CpusOf(machine.Cores({3, 4, 5, 9, 15})), (Sets{{3}, {4, 5}, {9}, {15}}));
  machine.Allow({2, 3, 4, 14, 15}, false);
  EXPECT_EQ(CpusOf(machine.Cores({3, 4, 5, 9, 15})), (Sets{{3}, {4}, {15}}));
  machine.Allow({3, 14, 15}, true);
  EXPECT_EQ(CpusOf(machine.Cores({3, 4, 5, 9, 15})), (Sets{{3}, {15}}));
  EXPECT_TRUE(machine.Cores({}).empty());
}

TEST(CpuTopologyTest, PerformanceCoresComeFirst) {
  Machine machine("l3:1 core:8 pu:1");
  machine.SetKind(0, 4, 0, "CoreType", "IntelAtom");
  machine.SetKind(4, 8, 1, "CoreType", "IntelCore");
  const auto cores = machine.Cores();
  EXPECT_EQ(CpusOf(cores), (Sets{{4}, {5}, {6}, {7}, {0}, {1}, {2}, {3}}));
  EXPECT_FALSE(cores[3].efficiency);
  EXPECT_TRUE(cores[4].efficiency);
  EXPECT_EQ(DefaultThreads({cores, {}}), 4);
  const auto one_fast = machine.Cores({0, 1, 2, 4});
  EXPECT_EQ(CpusOf(one_fast), (Sets{{4}, {0}, {1}, {2}}));
  EXPECT_EQ(DefaultThreads({one_fast, {}}), 4);
  EXPECT_EQ(DefaultThreads({machine.Cores({0, 1}), {}}), 2);
}

TEST(CpuTopologyTest, ArmCoresAreRatedByCapacity) {
  Machine machine("core:8 pu:1");
  machine.SetKind(0, 4, 0, "LinuxCapacity", "325");
  machine.SetKind(4, 7, 1, "LinuxCapacity", "830");
  machine.SetKind(7, 8, 2, "LinuxCapacity", "1024");
  const auto cores = machine.Cores();
  EXPECT_EQ(CpusOf(cores), (Sets{{7}, {4}, {5}, {6}, {0}, {1}, {2}, {3}}));
  EXPECT_EQ(DefaultThreads({cores, {}}), 4);
}

TEST(CpuTopologyTest, AHigherClockMakesNoEfficiencyCoresOfTheOthers) {
  Machine machine("node:2 core:4 pu:1");
  machine.SetKind(6, 8, 1, "FrequencyMaxMHz", "5200");
  machine.SetKind(0, 6, 0, "FrequencyMaxMHz", "3300");
  const auto cores = machine.Cores();
  EXPECT_EQ(CpusOf(cores), (Sets{{0}, {1}, {2}, {3}, {6}, {7}, {4}, {5}}));
  EXPECT_EQ(DefaultThreads({cores, {}}), 8);
}

std::vector<PhysicalCore> Plain(int count) {
  std::vector<PhysicalCore> cores;
  for (int i = 0; i < count; ++i) cores.push_back({.cpus = {2 * i, 2 * i + 1}});
  return cores;
}

TEST(CpuShareTest, ThreadsStayWithinTheQuota) {
  const std::map<double, int> expected = {{0.1, 1}, {1, 1}, {1.5, 2}, {3, 3}, {3.2, 4}, {100, 4}};
  for (const auto& [quota, threads] : expected) EXPECT_EQ(DefaultThreads({Plain(4), quota}), threads) << quota;
  EXPECT_EQ(DefaultThreads({Plain(4), {}}), 4);
  EXPECT_EQ(DefaultThreads({{}, {}}), 1);
}

// Places, or "refused".
std::string Place(int threads, Pinning pinning, const CpuShare& share) {
  const auto places = PlaceThreads(threads, pinning, share);
  if (!places.ok()) return "refused";
  std::string text;
  for (const std::vector<int>& cpus : *places) {
    for (const int cpu : cpus) text += std::to_string(cpu) + (cpu == cpus.back() ? "; " : ",");
  }
  return text;
}

TEST(CpuShareTest, AutoPinsOnlyATeamThatTakesTheMachine) {
  const CpuShare share{Plain(3), {}};
  EXPECT_EQ(Place(3, Pinning::kAuto, share), "0,1; 2,3; 4,5; ");
  EXPECT_EQ(Place(2, Pinning::kAuto, share), "");  // another such process would choose the same two
  EXPECT_EQ(Place(4, Pinning::kAuto, share), "");
  EXPECT_EQ(Place(3, Pinning::kAuto, {Plain(3), 3.0}), "0,1; 2,3; 4,5; ");
  EXPECT_EQ(Place(3, Pinning::kAuto, {Plain(3), 2.9}), "");
  EXPECT_EQ(Place(3, Pinning::kOff, share), "");
}

TEST(CpuShareTest, OnPinsWhateverHasACoreForEachThread) {
  EXPECT_EQ(Place(2, Pinning::kOn, {Plain(3), {}}), "0,1; 2,3; ");
  EXPECT_EQ(Place(2, Pinning::kOn, {Plain(3), 1.0}), "0,1; 2,3; ");
  EXPECT_EQ(Place(4, Pinning::kOn, {Plain(3), {}}), "refused");
  const Status status = PlaceThreads(4, Pinning::kOn, {Plain(3), {}}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("at most 3 threads, found 4"), std::string::npos) << status.message();
}

TEST(CpuShareTest, AutoPinsToPerformanceCoresAlone) {
  CpuShare share{Plain(4), {}};
  share.cores[2].efficiency = share.cores[3].efficiency = true;
  EXPECT_EQ(Place(1, Pinning::kAuto, share), "");
  EXPECT_EQ(Place(2, Pinning::kAuto, share), "0,1; 2,3; ");
  EXPECT_EQ(Place(3, Pinning::kAuto, share), "0,1; 2,3; 4,5; ");
  share.cores[1].efficiency = true;  // one performance core is too few: all count
  EXPECT_EQ(Place(2, Pinning::kAuto, share), "");
  EXPECT_EQ(Place(4, Pinning::kAuto, share), "0,1; 2,3; 4,5; 6,7; ");
}

TEST(CpuShareTest, PinningHasThreeNames) {
  EXPECT_EQ(*PinningFromName("auto"), Pinning::kAuto);
  EXPECT_EQ(*PinningFromName("on"), Pinning::kOn);
  EXPECT_EQ(*PinningFromName("off"), Pinning::kOff);
  EXPECT_EQ(PinningFromName("yes").status().code(), StatusCode::kInvalidArgument);
}

TEST(CpuShareTest, ThisMachineHasDisjointCoresWithinTheMask) {
  const std::vector<int> mask = ThreadCpus();
  const CpuShare& share = MachineShare();
  ASSERT_FALSE(share.cores.empty());
  EXPECT_EQ(ThreadCpus(), mask);  // looking up moves nothing
  std::set<int> seen;
  for (const PhysicalCore& core : share.cores) {
    EXPECT_FALSE(core.cpus.empty());
    for (const int cpu : core.cpus) {
      EXPECT_TRUE(seen.insert(cpu).second);
      EXPECT_TRUE(std::find(mask.begin(), mask.end(), cpu) != mask.end()) << cpu;
    }
  }
  EXPECT_GE(DefaultThreads(), 1);
  EXPECT_LE(DefaultThreads(), static_cast<int>(share.cores.size()));
}

}  // namespace
}  // namespace inkstone

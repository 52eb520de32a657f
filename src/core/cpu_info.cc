#include "core/cpu_info.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "core/cgroup.h"

namespace inkstone {
namespace {

#if defined(__x86_64__)
uint64_t ReadXcr0() {
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

bool Bit(uint32_t word, int bit) { return ((word >> bit) & 1u) != 0; }

// Tile registers are off until a process asks for them (Linux, Documentation/arch/x86/xstate.rst).
bool RequestTiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

// First line of a file, empty when it cannot be read.
std::string FirstLine(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::vector<int> AllowedCpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(static_cast<size_t>(cpu), &set)) cpus.push_back(cpu);
    }
  }
  return cpus;
}

}  // namespace

CpuFeatures DetectCpuFeatures() {
  CpuFeatures f;
#if defined(__x86_64__)
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
  const bool os_saves = Bit(c, 27);
  const bool avx = Bit(c, 28) && Bit(c, 12) && Bit(c, 29);  // AVX, FMA, F16C
  if (!os_saves || !avx) return f;
  const uint64_t xcr0 = ReadXcr0();
  if ((xcr0 & 0x6) != 0x6) return f;
  const bool zmm = (xcr0 & 0xe6) == 0xe6;
  const bool tiles = (xcr0 & 0x60000) == 0x60000 && RequestTiles();
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  f.avx2 = Bit(b, 5);
  f.avx512 = zmm && Bit(b, 16) && Bit(b, 30) && Bit(b, 31) && Bit(b, 17);
  f.avx512_vnni = f.avx512 && Bit(c, 11);
  f.amx_int8 = f.avx512 && tiles && Bit(d, 24) && Bit(d, 25);
  f.amx_bf16 = f.avx512 && tiles && Bit(d, 24) && Bit(d, 22);
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) f.avx512_bf16 = f.avx512 && Bit(a, 5);
#endif
  return f;
}

std::string CpuName() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(std::min(line.find(':') + 2, line.size()));
  }
#if defined(__x86_64__)
  return "x86-64";
#elif defined(__aarch64__)
  return "AArch64";
#else
  return "unknown CPU";
#endif
}

std::vector<int> PhysicalCores() {
  std::vector<int> cores;
  std::set<std::string> seen;
  for (const int cpu : AllowedCpus()) {
    // Two hyper-threads of a core share this list, so the list names the core.
    const std::string siblings =
        FirstLine("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    if (siblings.empty() || seen.insert(siblings).second) cores.push_back(cpu);
  }
  return cores;
}

int DefaultThreads() {
  int threads = static_cast<int>(PhysicalCores().size());
  if (threads == 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  if (const auto quota = CgroupCpuQuota()) threads = std::min(threads, static_cast<int>(std::ceil(*quota)));
  return std::max(threads, 1);
}

}  // namespace inkstone

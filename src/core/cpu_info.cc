#include "core/cpu_info.h"

#include <algorithm>
#include <cstdint>
#include <fstream>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

}  // namespace inkstone

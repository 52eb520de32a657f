// What the CPU is: its name and instruction sets. Its cores: core/cpu_topology.h.
#pragma once

#include <string>

namespace inkstone {

// Instruction sets that the CPU has and the operating system has enabled.
struct CpuFeatures {
  bool avx2 = false;    // with FMA and F16C
  bool avx512 = false;  // F, BW, VL, DQ
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool amx_int8 = false;
  bool amx_bf16 = false;
};
// Asks Linux to let this process use AMX's tile registers where the CPU has them.
CpuFeatures DetectCpuFeatures();

// "Intel(R) Xeon(R) ...", or the architecture's name where /proc/cpuinfo says nothing.
std::string CpuName();

}  // namespace inkstone

// x86-64: each target needs all that the one before it needs.
#include <array>

#include "kernels/kernels.h"
#include "kernels/ref/ref.h"
#include "kernels/x86_avx2/avx2.h"

namespace inkstone {

std::span<const KernelTable* const> AvailableKernels(const CpuFeatures& features) {
  static constexpr std::array kTables = {&kRefKernels, &kAvx2Kernels};
  return std::span(kTables).first(features.avx2 ? 2 : 1);
}

}  // namespace inkstone

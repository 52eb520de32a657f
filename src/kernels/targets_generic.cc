// Architectures without a vectorized target.
#include <array>

#include "kernels/kernels.h"
#include "kernels/ref/ref.h"

namespace inkstone {

std::span<const KernelTable* const> AvailableKernels(const CpuFeatures&) {
  static constexpr std::array kTables = {&kRefKernels};
  return kTables;
}

}  // namespace inkstone

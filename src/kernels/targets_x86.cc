// x86-64: each target needs all that the one before it needs.
#include <array>

#include "kernels/kernels.h"
#include "kernels/ref/ref.h"
#include "kernels/x86_avx2/avx2.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"

namespace inkstone {

std::span<const KernelTable* const> AvailableKernels(const CpuFeatures& features) {
  static constexpr std::array kTables = {&kRefKernels, &kAvx2Kernels, &kAvx512VnniKernels};
  const size_t count = !features.avx2 ? 1 : !features.avx512_vnni ? 2 : 3;
  return std::span(kTables).first(count);
}

}  // namespace inkstone

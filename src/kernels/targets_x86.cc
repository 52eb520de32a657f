// x86-64: each target needs all that the one before it needs.
#include <array>

#include "kernels/kernels.h"
#include "kernels/ref/ref.h"
#include "kernels/x86_amx/amx.h"
#include "kernels/x86_avx2/avx2.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"

namespace inkstone {

std::span<const KernelTable* const> AvailableKernels(const CpuFeatures& features) {
  static constexpr std::array kTables = {&kRefKernels, &kAvx2Kernels, &kAvx512VnniKernels, &kAmxKernels};
  const bool amx = features.amx_bf16 && features.amx_int8 && features.avx512_bf16;
  const size_t count = !features.avx2 ? 1 : !features.avx512_vnni ? 2 : !amx ? 3 : 4;
  return std::span(kTables).first(count);
}

}  // namespace inkstone

// x86-64: each target needs all that the one before it needs.
#include <array>

#include "quant/fit_targets.h"

namespace inkstone {

std::span<const FitTable* const> AvailableFits(const CpuFeatures& features) {
  static constexpr std::array kTables = {&kFitPortable, &kFitAvx2, &kFitAvx512};
  return std::span(kTables).first(!features.avx2 ? 1 : !features.avx512 ? 2 : 3);
}

}  // namespace inkstone

#include <array>

#include "quant/fit_targets.h"

namespace inkstone {

std::span<const FitTable* const> AvailableFits(const CpuFeatures&) {
  static constexpr std::array kTables = {&kFitPortable};
  return kTables;
}

}  // namespace inkstone

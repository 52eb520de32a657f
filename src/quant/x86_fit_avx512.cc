#include "quant/fit_impl.h"
#include "quant/fit_targets.h"

namespace inkstone {
const FitTable kFitAvx512 = MakeFitTable<16>("avx512");
}  // namespace inkstone

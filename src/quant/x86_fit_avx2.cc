#include "quant/fit_impl.h"
#include "quant/fit_targets.h"

namespace inkstone {
const FitTable kFitAvx2 = MakeFitTable<8>("avx2");
}  // namespace inkstone

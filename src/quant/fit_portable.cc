#include "quant/fit_impl.h"
#include "quant/fit_targets.h"

namespace inkstone {
const FitTable kFitPortable = MakeFitTable<4>("portable");
}  // namespace inkstone

// Every table of fit.h; those of another architecture are not linked.
#pragma once

#include "quant/fit.h"

namespace inkstone {

extern const FitTable kFitPortable;
extern const FitTable kFitAvx2;
extern const FitTable kFitAvx512;

}  // namespace inkstone

// The scalar target: the specification that the others are tested against.
#pragma once

#include "kernels/kernels.h"

namespace inkstone {

extern const KernelTable kRefKernels;

}  // namespace inkstone

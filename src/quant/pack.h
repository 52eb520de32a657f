// Puts fitted scales and codes where the type's block has them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "quant/grid.h"

namespace inkstone {

// Writes one block of a quantized type to `dst`. codes: (elements of the block), each level's number from zero upwards.
void PackBlock(DType type, const FittedBlock& fitted, const uint8_t* codes, std::byte* dst);

}  // namespace inkstone

// A matrix of a checkpoint in another type: its bytes, and the error that the type costs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/dtype.h"
#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace inkstone {

// All rows of `source` in `type`. importance: (cols) or null.
std::vector<std::byte> EncodeMatrix(const WeightView& source, DType type, const float* importance, ThreadPool& threads);

// For each type the sum of importance * (error of the weight)^2 over rows spread evenly through the matrix; NaN where
// the type's block does not divide the columns.
std::vector<double> WeightedErrors(const WeightView& source, std::span<const DType> types, const float* importance,
                                   ThreadPool& threads);

}  // namespace inkstone

// Values that cannot be compressed, found before the work begins.
#pragma once

#include <cstdint>
#include <string>

#include "core/dtype.h"
#include "core/status.h"
#include "core/thread_pool.h"
#include "formats/checkpoint.h"

namespace inkstone {

// kDataLoss: "model: tensor 't': found nan at index 5 (row 0, column 5)" and what `expected` says. `index`: of the
// tensor's values in the source's order.
Status BadValue(const Checkpoint& checkpoint, const std::string& tensor, int64_t cols, int64_t index, float value,
                const std::string& expected);

// What BadValue says of a finite value beyond EncodeLimit(type).
std::string ExpectedWithinLimit(DType type);

// Reads all tensors once. kDataLoss for the first value that is not finite, or in a matrix beyond the limit of `type`
// (kF32 for none).
Status CheckValues(const Checkpoint& checkpoint, DType type, ThreadPool& threads);

}  // namespace inkstone

// How much a model's output suffers when one tensor drops to a type. Kept in the metadata of compressed files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/status.h"
#include "formats/metadata.h"

namespace inkstone {

// One row for each matrix, one column for each type.
struct SensitivityTable {
  std::vector<std::string> tensors;
  std::vector<DType> types;
  // (tensors, types), row-major: mean KL divergence in nats from the 16-bit model with this tensor alone in this type;
  // NaN where the type does not fit the tensor.
  std::vector<float> divergence;
  int64_t tokens = 0;  // scored positions behind each measured value

  float at(size_t tensor, size_t type) const { return divergence[tensor * types.size() + type]; }
};

// Metadata keys "inkstone.sensitivity.tensors" (strings), ".types" (strings), ".divergence" (f32s), ".tokens".
void AddSensitivity(const SensitivityTable& table, Metadata* metadata);
// An empty table where the keys are missing; kDataLoss where they do not fit together.
Result<SensitivityTable> ReadSensitivity(const Metadata& metadata);

}  // namespace inkstone

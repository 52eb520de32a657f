// The sensitivity of a compressed file's tensors, as a person and as a tool reads it.
#pragma once

#include <string>

#include "compress/sensitivity.h"
#include "formats/checkpoint.h"
#include "server/json_writer.h"

namespace inkstone {

// Lines of at most 120 columns: those outside the layers first, then one row for each layer and one column for each
// kind of tensor, with its type in `checkpoint` and the divergence measured for that type ("-" where none was).
std::string SensitivityText(const SensitivityTable& table, const Checkpoint& checkpoint);

// One value: {"tokens", "types": [..], "tensors": [{"name", "type", "divergence": [one for each of types]}]}.
void WriteSensitivity(const SensitivityTable& table, const Checkpoint& checkpoint, JsonWriter* json);

}  // namespace inkstone

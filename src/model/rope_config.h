// RoPE of a model from the keys of its description.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"
#include "formats/checkpoint.h"
#include "model/config.h"

namespace inkstone {

// Fills in config->rope (whose head_dim is set) from {arch}.rope.*, inkstone.rope.* and the tensor rope_freqs.weight,
// with llama.cpp's meaning of each, and raises config->context where YaRN reaches further. kUnimplemented names a key
// or tensor that would change the numbers and that this program does not compute.
Status ReadRope(const Checkpoint& checkpoint, ModelConfig* config);

}  // namespace inkstone

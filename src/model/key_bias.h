// How large the constant part of a model's keys is: what decides whether a quantized cache can hold them.
#pragma once

#include "core/status.h"
#include "model/config.h"

namespace inkstone {

// Energy of the key biases over that of what the layer's input adds to them, the mean over all heads; 0 where keys have
// no bias. A quantized key's rounding error follows its whole length, what attention tells tokens apart by is the part
// without the bias: with the ratio r, rounding costs about 1 + r times what it costs without a bias. An estimate from
// the weights alone: the normalized input counts as of unit variance, and every eighth row of the matrix is read.
// kDataLoss for a tensor of a wrong shape.
Result<double> KeyBiasRatio(const Checkpoint& checkpoint, const ModelConfig& config);

}  // namespace inkstone

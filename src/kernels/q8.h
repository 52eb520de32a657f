// How vectors of the KV cache are quantized to q8_0 (core/kv_vector.h), the same on every target.
//
// For each 32 consecutive values x of one vector: amax = max |x|. When amax < kQ8Smallest all values are taken as zero.
// Otherwise, in f32: scale = amax / 127, inverse = 127 / amax, q = round-to-nearest-even(x * inverse), in [-127, 127].
#pragma once

namespace inkstone {

// Keeps 127 / amax finite and scale a normal number.
inline constexpr float kQ8Smallest = 1e-30f;

}  // namespace inkstone

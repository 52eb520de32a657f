// How the vectorized targets quantize activations for ActivationFormat::kQ8, so that targets differ only by summation
// order.
//
// For each 32 consecutive values x of one token: amax = max |x|. When amax < kQ8Smallest all values are taken as zero.
// Otherwise, in f32: scale = amax / 127, inverse = 127 / amax, q = round-to-nearest-even(x * inverse), in [-127, 127].
#pragma once

namespace inkstone {

inline constexpr int kQ8Group = 32;
// Keeps 127 / amax finite and scale a normal number.
inline constexpr float kQ8Smallest = 1e-30f;

}  // namespace inkstone

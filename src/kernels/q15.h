// How the x86 targets quantize activations for ActivationFormat::kQ15.
//
// For the values x of one token: amax = max |x|. When amax < kQ15Smallest all values are taken as zero. Otherwise, in
// f32: scale = amax / kQ15Max, inverse = kQ15Max / amax, q = round-to-nearest-even(x * inverse). With eight bits and a
// scale for each 32 values SmolLM2-135M lay at a KL divergence of 4.6e-3 from f32 arithmetic, nine times what is aimed
// at; so it lies at 1e-5 (docs/PERFORMANCE.md).
#pragma once

namespace inkstone {

// So that q = 128 * high + low with high in [-127, 127] and low in [-64, 63].
inline constexpr int kQ15Max = 127 * 128;
// Keeps kQ15Max / amax finite and scale a normal number.
inline constexpr float kQ15Smallest = 1e-30f;

}  // namespace inkstone

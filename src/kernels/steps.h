// How the x86 targets quantize activations for ActivationFormat::kSteps.
//
// For the values x of one token: amax = max |x|, and sum, the largest sum of |x| over 256 columns that begin at a
// multiple of 256, added up in eight lanes and these in halves. In f32: scale = max(amax / kQ15Max, sum /
// kStepsMaxSum), v = round(x * (1 / scale)). Each 16 values have the step max(1, ceil(max |v| / 127)) and q = round(v *
// (1 / step)). 32 values whose largest |v| is above kStepsCoarse times the root mean square of the token's v (types of
// six bits: kStepsFine times) keep v as it is; of others step * q is left.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace inkstone {

// Bounds what a row of 256 weights adds up to. Rounding to steps makes a sum 1.063 times as large and 256 larger at
// most, so below 2^19, and 2^19 times weights of 32 times scales of 128 (Q6_K) is 2^31.
inline constexpr int32_t kStepsMaxSum = 480'000;
inline constexpr float kStepsCoarse = 6.0f;
inline constexpr float kStepsFine = 3.0f;

// Whether a type's activations take this format in a phase: those of four to six bits; of eight bits, which meets v as
// it is, where reading the rows is what takes time. iq4_prompts: whether a target gains by it in prompts
// with types whose four bits stand for values of eight.
inline constexpr bool TakesSteps(DType weight, Phase phase, bool iq4_prompts) {
  switch (weight) {
    case DType::kQ4_0:
    case DType::kQ4_K:
    case DType::kQ5_K:
    case DType::kQ6_K:
      return true;
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
      return iq4_prompts || phase == Phase::kDecode;
    case DType::kQ8_0:
      return phase == Phase::kDecode;
    default:
      return false;
  }
}

}  // namespace inkstone

// How vectors of the KV cache are quantized to q4_0 (core/kv_vector.h).
//
// A value is its group's scale times one of 16 levels. Keys come from a Hadamard transform and are close to normally
// distributed, so the levels are those of Lloyd's algorithm for groups of 32 normal values with the scale that
// is best for each group, rounded to integers. They are not symmetric: a scale may be negative, which lets the longer
// side meet the group's largest value. Mean squared error of normal values: 0.0055, where the even levels -8 .. 7 leave
// 0.0074 with the scale that the largest value gives, and 0.0067 with the search below.
//
// Storing searches: with y the group times 127 / max |x|, the four scales +-1.05 and +-0.95 each assign the nearest
// levels l, whose best scale is sum(y l) / sum(l l); of the scale that leaves the least squared error, this is done
// once more. The result is rounded to bf16, and the nearest levels at that scale are stored.
#pragma once

#include <cstdint>

namespace inkstone {

constexpr int8_t kQ4Levels[16] = {-127, -100, -80, -63, -48, -34, -21, -9, 2, 14, 25, 37, 50, 66, 85, 114};
constexpr float kQ4Starts[4] = {1.05f, -1.05f, 0.95f, -0.95f};

// Where code k + 1 is nearer than code k, in units of the scale.
constexpr float Q4Border(int k) { return 0.5f * static_cast<float>(kQ4Levels[k] + kQ4Levels[k + 1]); }

}  // namespace inkstone

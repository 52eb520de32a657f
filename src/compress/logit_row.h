// The compact form of a row of logits: the largest ones exactly, the others in 16 bits.
//
// An error e(i) of logit i changes a divergence by about half the variance of e under the row's distribution p. The
// largest logits carry nearly all of p, so they keep their 32 bits; the others share evenly spaced steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/status.h"

namespace inkstone {

inline constexpr int64_t kExactLogits = 128;   // of a row, the largest; all of a smaller vocabulary
inline constexpr double kLogitTailNats = 128;  // below the largest inexact logit; what lies deeper is raised to it

// Bytes of an encoded row: indices and values of the exact logits, top and step of the others, 2 bytes for each logit.
size_t EncodedLogitBytes(int64_t vocab);

// `logits` is (vocab), finite; `out` has EncodedLogitBytes; `scratch` is (vocab) and is overwritten. Equal logits give
// equal bytes.
void EncodeLogits(std::span<const float> logits, std::span<float> scratch, std::span<std::byte> out);

// The way back; all values are finite. kDataLoss (what was expected and found) when `in`, which has EncodedLogitBytes,
// holds an index outside the vocabulary or values that are not finite.
Status DecodeLogits(std::span<const std::byte> in, std::span<float> logits);

}  // namespace inkstone

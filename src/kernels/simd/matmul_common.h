// What the matrix products of the vectorized targets share. One copy per target: internal linkage.
#pragma once

#include <type_traits>

#include "kernels/kernels.h"

namespace inkstone {
namespace {

// Tokens for which one unpacked panel's sums are kept; bounds the scratch memory, not the numbers.
inline constexpr int64_t kTokenChunk = 512;

template <class T>
inline T Smaller(T a, T b) {
  return a < b ? a : b;
}

// body(std::integral_constant<int, i>) for i = 0 .. kCount - 1, unrolled.
template <int kCount, int kFrom = 0, class Body>
[[gnu::always_inline]] inline void Unroll(Body&& body) {
  if constexpr (kFrom < kCount) {
    body(std::integral_constant<int, kFrom>());
    Unroll<kCount, kFrom + 1>(body);
  }
}

// Runs body<T>(t) over tokens [0, count), T = kMost at a time and the rest in halves.
template <int kMost, class Body>
[[gnu::always_inline]] inline void ForTokens(int64_t count, Body&& body, int64_t t = 0) {
  for (; t + kMost <= count; t += kMost) body(std::integral_constant<int, kMost>(), t);
  if constexpr (kMost > 1) ForTokens<kMost / 2>(count, body, t);
}

// One output of a product.
inline void WriteOutput(const MatMulOp& op, int64_t row, int64_t token, float value) {
  float* y = op.y + token * op.y_stride + row;
  if (op.bias != nullptr) value += op.bias[row];
  if (op.accumulate) value += *y;
  *y = value;
}

// Sums of one panel, (tokens, kRows) f32, to the outputs of rows [row, row + rows), rows <= kRows.
template <int kRows>
inline void WritePanel(const MatMulOp& op, int64_t row, int64_t rows, int64_t token, int64_t tokens,
                       const float* sums) {
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t r = 0; r < rows; ++r) WriteOutput(op, row + r, token + t, sums[t * kRows + r]);
  }
}

}  // namespace
}  // namespace inkstone

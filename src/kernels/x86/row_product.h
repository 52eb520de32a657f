// Products of the decode phase for few tokens: one row of weights after another in one sequential stream, each weight
// unpacked once for all tokens. One copy per target, as in unpack.h.
//
// Order of sums in the decode phase, here and in panel_product.h: within a piece each group of 32 or 16 columns gives
// an exact integer sum; sum i of 8 or 16 takes the i-th group of one piece after another, times the weights' scale, in
// f32; at the end the upper half of the sums is added to the lower half until one is left, and that is multiplied with
// the token's scale. So bits do not depend on the way taken.
#pragma once

#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/unpack.h"

namespace inkstone {
namespace {

// More tokens than this go through panels.
inline constexpr int64_t kRowTokens = 3;

// The end of that order: kCount sums, kStride floats apart, of each of `used` outputs to one.
template <int kCount, int64_t kStride>
inline void ReduceSums(float* sums, int64_t used) {
  for (int n = kCount / 2; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) {
      float* low = sums + i * kStride;
      const float* high = low + n * kStride;
      for (int64_t k = 0; k < used; ++k) low[k] += high[k];
    }
  }
}

// K, the target's part: Unpacked<U>, a piece ready to be multiplied; Sum<U>, the running sums of one (row, token), with
// Total(); Unpack<U>(row, piece, cols, Unpacked&); Dot<U>(Unpacked, QuantizedPiece, Sum&).
template <class U, class K, int T>
inline void RowsTimesTokens(const MatMulOp& op, int64_t row_begin, int64_t row_end) {
  // Dot takes the bias off in f32, which is exact as long as these integers are.
  static_assert(U::kBias == 0 || U::kMaxAbs * U::kGroup * kQ15Max < 1 << 24);
  const int64_t pieces = PieceCount(op.w.cols);
  const auto* x = static_cast<const QuantizedPiece*>(op.activations);
  for (int64_t r = row_begin; r < row_end; ++r) {
    const std::byte* row = op.w.data + r * RowBytesOf<U>(op.w.cols);
    typename K::template Sum<U> sum[T];
    for (int64_t p = 0; p < pieces; ++p) {
      typename K::template Unpacked<U> w;
      PrefetchAhead<kPieceBytes<U>>(row + p * kPieceBytes<U> + kPrefetchDistance);
      K::template Unpack<U>(row, p, op.w.cols, w);
      Unroll<T>([&](auto t) { K::template Dot<U>(w, x[t * pieces + p], sum[t]); });
    }
    Unroll<T>([&](auto t) { WriteOutput(op, r, t, sum[t].Total() * x[t * pieces].scale); });
  }
}

template <class U, class K>
inline void RowProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end) {
  static_assert(kRowTokens == 3);
  switch (op.tokens) {
    case 1:
      return RowsTimesTokens<U, K, 1>(op, row_begin, row_end);
    case 2:
      return RowsTimesTokens<U, K, 2>(op, row_begin, row_end);
    default:
      return RowsTimesTokens<U, K, 3>(op, row_begin, row_end);
  }
}

}  // namespace
}  // namespace inkstone

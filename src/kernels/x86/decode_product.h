// The decode phase of products with block-quantized weights: every weight is read and unpacked once for all tokens.
// One copy per target, as in unpack.h.
#pragma once

#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/unpack.h"

namespace inkstone {
namespace {

// With several tokens a block of rows advances together by a few pieces at a time, so that the activations come from
// the nearest cache instead of passing through once per row.
inline constexpr int kRowBlock = 8;
inline constexpr int kPieceBlock = 4;
inline constexpr int64_t kDecodeTokens = 64;  // beyond it, weights are read once for each so many

// K, the target's part: Unpacked, a piece ready to be multiplied; Sum, the running sums of one (row, token), with
// Total(); Unpack<U>(row, piece, cols, Unpacked&); Dot<U>(Unpacked, QuantizedPiece, Sum&). A Sum takes its row's pieces
// one after another in both functions below, so its bits do not depend on the tokens beside it.
template <class K>
struct DecodeScratch {
  typename K::Unpacked pieces[kPieceBlock];
  typename K::Sum sums[kRowBlock][kDecodeTokens];
};

template <class U, class K>
inline void MultiplyOneToken(const MatMulOp& op, int64_t row_begin, int64_t row_end) {
  const int64_t pieces = PieceCount(op.w.cols);
  const auto* x = static_cast<const QuantizedPiece*>(op.activations);
  for (int64_t r = row_begin; r < row_end; ++r) {
    const std::byte* row = op.w.data + r * RowBytesOf<U>(op.w.cols);
    typename K::Sum sum{};
    for (int64_t p = 0; p < pieces; ++p) {
      typename K::Unpacked w;
      PrefetchAhead<kPieceBytes<U>>(row + p * kPieceBytes<U> + kPrefetchDistance);
      K::template Unpack<U>(row, p, op.w.cols, w);
      K::template Dot<U>(w, x[p], sum);
    }
    WriteOutput(op, r, 0, sum.Total());
  }
}

// `count` pieces of one row, already unpacked, times `tokens` tokens; x is the first token's first of these pieces.
template <class U, class K>
inline void MultiplyPieces(const typename K::Unpacked* w, int64_t count, const QuantizedPiece* x, int64_t x_stride,
                           int64_t tokens, typename K::Sum* sums) {
  ForTokens<K::kTokens>(tokens, [&](auto together, int64_t t) {
    typename K::Sum sum[together];
    Unroll<together>([&](auto i) { sum[i] = sums[t + i]; });
    for (int64_t p = 0; p < count; ++p) {
      Unroll<together>([&](auto i) { K::template Dot<U>(w[p], x[(t + i) * x_stride + p], sum[i]); });
    }
    Unroll<together>([&](auto i) { sums[t + i] = sum[i]; });
  });
}

// Rows [row, row + rows), rows <= kRowBlock, times tokens [token, token + tokens), tokens <= kDecodeTokens.
template <class U, class K>
inline void MultiplyRowBlock(const MatMulOp& op, int64_t row, int64_t rows, int64_t token, int64_t tokens,
                             DecodeScratch<K>& s) {
  const int64_t pieces = PieceCount(op.w.cols);
  const auto* x = static_cast<const QuantizedPiece*>(op.activations) + token * pieces;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t t = 0; t < tokens; ++t) s.sums[r][t] = {};
  }
  for (int64_t p = 0; p < pieces; p += kPieceBlock) {
    const int64_t count = Smaller<int64_t>(kPieceBlock, pieces - p);
    for (int64_t r = 0; r < rows; ++r) {
      const std::byte* src = op.w.data + (row + r) * RowBytesOf<U>(op.w.cols);
      for (int64_t i = 0; i < count; ++i) {
        PrefetchAhead<kPieceBytes<U>>(src + (p + i + kPieceBlock) * kPieceBytes<U>);
        K::template Unpack<U>(src, p + i, op.w.cols, s.pieces[i]);
      }
      MultiplyPieces<U, K>(s.pieces, count, x + p, pieces, tokens, s.sums[r]);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t t = 0; t < tokens; ++t) WriteOutput(op, row + r, token + t, s.sums[r][t].Total());
  }
}

template <class U, class K>
inline void DecodeProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, DecodeScratch<K>& s) {
  if (op.tokens == 1) return MultiplyOneToken<U, K>(op, row_begin, row_end);
  for (int64_t t = 0; t < op.tokens; t += kDecodeTokens) {
    for (int64_t r = row_begin; r < row_end; r += kRowBlock) {
      MultiplyRowBlock<U, K>(op, r, Smaller<int64_t>(kRowBlock, row_end - r), t, Smaller(kDecodeTokens, op.tokens - t),
                             s);
    }
  }
}

}  // namespace
}  // namespace inkstone

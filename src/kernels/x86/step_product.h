// Products with activations of steps.h. One copy per target, as in unpack.h.
//
// Order of sums, in both phases: each piece of 256 columns gives exact integers for the scales and for the mins, where
// the type has integer scales, else each 32 columns give one; they are added in order, in f32, and the sum is
// multiplied with the token's scale. So bits do not depend on the way taken.
#pragma once

#include "kernels/x86/step_types.h"

namespace inkstone {
namespace {

// Tokens that share the unpacking of weights.
inline constexpr int kStepTokens = 16;
// Rows that pass over a prompt's activations together, as kPanelBlock of panel_product.h.
inline constexpr int64_t kStepBlock = 256;

struct alignas(64) StepScratch {
  float sums[kStepBlock / kStepRows][kTokenChunk * kStepRows];
};

// How bytes are multiplied: kBothWords, whether scales stand in both words of a dword or in the low one; kTogether,
// how many products of four columns are added before they take the scale.
template <int kBits>
struct ByteProducts {
  static constexpr bool kBothWords = true;
  static constexpr int kTogether = kBits <= 5 ? 4 : 2;  // words hold 2 * 31 * 127 four times, or 2 * 63 * 127 twice
  INKSTONE_INLINE static __m256i Multiply(__m256i w, __m256i x) { return _mm256_maddubs_epi16(w, x); }
  INKSTONE_INLINE static __m256i MultiplyAdd(__m256i sum, __m256i w, __m256i x) {
    return _mm256_add_epi16(sum, Multiply(w, x));
  }
  INKSTONE_INLINE static __m256i AddScaled(__m256i sum, __m256i dot, __m256i scale) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(dot, scale));
  }
};

// Products of 16 columns of weights with 16 bytes at `x`, times `scale`, added to `sum`.
template <class K>
INKSTONE_INLINE inline __m256i Dot16(const __m256i* w, const int8_t* x, __m256i scale, __m256i sum) {
  Unroll<4 / K::kTogether>([&](auto i) INKSTONE_INLINE {
    constexpr int first = i * K::kTogether;
    __m256i dot = K::Multiply(w[first], SetDword(Load32(x + 4 * first)));
    Unroll<K::kTogether - 1>([&](auto k) INKSTONE_INLINE {
      dot = K::MultiplyAdd(dot, w[first + k + 1], SetDword(Load32(x + 4 * (first + k + 1))));
    });
    sum = K::AddScaled(sum, dot, scale);
  });
  return sum;
}

// What memory brings 4 KB later, to the second level: the first level can wait for few lines only, and the next eight
// rows may not fit into it.
INKSTONE_INLINE inline void PrefetchLine(const std::byte* p) { __builtin_prefetch(p + 4096, 0, 2); }

// Block `b` of 32 columns, unpacked in `u`, times one token; `scale` of each half, `stepped` the same times its step.
template <class S, class K>
INKSTONE_INLINE inline __m256i AddBlock(const __m256i (&u)[8], const __m256i (&scale)[2], const __m256i (&stepped)[2],
                                        const StepPiece& x, int64_t b, __m256i sum) {
  Unroll<2>([&](auto h) INKSTONE_INLINE { sum = Dot16<K>(u + 4 * h, x.q + 32 * b + 16 * h, stepped[h], sum); });
  if (((S::kFine ? x.fine : x.coarse) >> b & 1) != 0) [[unlikely]] {
    Unroll<2>([&](auto h) INKSTONE_INLINE { sum = Dot16<K>(u + 4 * h, x.r + 32 * b + 16 * h, scale[h], sum); });
  }
  return sum;
}

// Adds a piece of eight rows times `tokens` tokens, `x_stride` pieces apart, to sums of eight floats, one after the
// other. kOne: a single token.
template <class S, class K, bool kOne>
[[gnu::noinline]] void AddStepPiece(const std::byte* p, int64_t stride, const std::byte* next, const StepPiece* x,
                                    int64_t x_stride, int64_t tokens, float* sums) {
  constexpr int kLines = kStepRows * sizeof(typename S::Block) / 64;
  S w;
  w.Load(p, stride);
  PieceSums piece[kOne ? 1 : kStepTokens];
  const auto for_tokens = [&](auto&& body) INKSTONE_INLINE {
    if constexpr (kOne) return body(*x, piece[0], sums);
    for (int64_t t = 0; t < tokens; ++t) body(x[t * x_stride], piece[t], sums + kStepRows * t);
  };
  for_tokens([&](const StepPiece&, PieceSums& sum, float*) INKSTONE_INLINE { sum = PieceSums{}; });
  Unroll<4>([&](auto pair) INKSTONE_INLINE {
    w.template LoadPair<pair>(p, stride);
    Unroll<2>([&](auto of_pair) INKSTONE_INLINE {
      constexpr int b = 2 * pair + of_pair;
      Unroll<(b + 1) * kLines / 8 - b * kLines / 8>(
          [&](auto line) INKSTONE_INLINE { PrefetchLine(next + (b * kLines / 8 + line) * 64); });
      __m256i u[8];
      Unroll<8>([&](auto k) INKSTONE_INLINE { u[k] = w.template Columns<b>(k); });
      const __m256i scale[2] = {w.template Scale<K, 2 * b>(), w.template Scale<K, 2 * b + 1>()};
      for_tokens([&](const StepPiece& token, PieceSums& sum, float*) INKSTONE_INLINE {
        const __m256i stepped[2] = {TimesStep(scale[0], token.step[2 * b]), TimesStep(scale[1], token.step[2 * b + 1])};
        sum.dot = AddBlock<S, K>(u, scale, stepped, token, b, sum.dot);
      });
    });
    for_tokens([&](const StepPiece& token, PieceSums& sum, float*)
                   INKSTONE_INLINE { w.template AddSums<pair>(token, sum); });
  });
  for_tokens([&](const StepPiece&, PieceSums& sum, float* place)
                 INKSTONE_INLINE { _mm256_storeu_ps(place, w.Finish(sum, _mm256_loadu_ps(place))); });
}

// The sum of a token's values 32 * b .. 32 * b + 31.
INKSTONE_INLINE inline int32_t BlockTotal(const StepPiece& x, int64_t b) {
  const int64_t shift = b % 2 * 16;
  return static_cast<int16_t>(x.high32[b / 2] >> shift) * 256 + static_cast<int16_t>(x.low32[b / 2] >> shift);
}

// The same for types whose blocks of 32 have a scale of their own; a row's last piece may have fewer than eight.
template <class S, class K, bool kOne>
[[gnu::noinline]] void AddBlocks(const std::byte* p, int64_t stride, const std::byte* next, int64_t blocks,
                                 const StepPiece* x, int64_t x_stride, int64_t tokens, float* sums) {
  constexpr int kBytes = sizeof(typename S::Block), kLines = (kStepRows * kBytes + 63) / 64;
  constexpr uint32_t kWords = K::kBothWords ? 0xffffffffu : 0xffffu;
  const __m256i one[2] = {SetDword(0x10001u & kWords), SetDword(0x10001u & kWords)};
  for (int64_t b = 0; b < blocks; ++b) {
    Unroll<kLines>([&](auto line) INKSTONE_INLINE { PrefetchLine(next + b * kStepRows * kBytes + line * 64); });
    S w;
    w.Load(p + b * kBytes, stride);
    __m256i u[8];
    Unroll<8>([&](auto k) INKSTONE_INLINE { u[k] = w.Columns(k); });
    for (int64_t t = 0; t < (kOne ? 1 : tokens); ++t) {
      const StepPiece& token = x[t * x_stride];
      const __m256i step[2] = {SetDword(token.step[2 * b] & kWords), SetDword(token.step[2 * b + 1] & kWords)};
      __m256i dot = AddBlock<S, K>(u, one, step, token, b, _mm256_setzero_si256());
      dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(S::kBias * BlockTotal(token, b)));
      float* sum = sums + kStepRows * t;
      _mm256_storeu_ps(sum, _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), w.d, _mm256_loadu_ps(sum)));
    }
  }
}

// Piece `p` of eight rows at `at` times all tokens.
template <class S, class K>
inline void AddPieceOfRows(const std::byte* at, int64_t stride, const std::byte* next, int64_t cols, const StepPiece* x,
                           int64_t x_stride, int64_t tokens, float* sums) {
  constexpr bool kOwnScales = requires { S::kBias; };
  for (int64_t t = 0; t < tokens; t += kStepTokens) {
    const int64_t count = Smaller<int64_t>(kStepTokens, tokens - t);
    float* const place = sums + t * kStepRows;
    if constexpr (kOwnScales) {
      const int64_t blocks = Smaller<int64_t>(kPieceBlocks, cols / 32);
      const auto add = tokens == 1 ? AddBlocks<S, K, true> : AddBlocks<S, K, false>;
      add(at, stride, next, blocks, x + t * x_stride, x_stride, count, place);
    } else {
      const auto add = tokens == 1 ? AddStepPiece<S, K, true> : AddStepPiece<S, K, false>;
      add(at, stride, next, x + t * x_stride, x_stride, count, place);
    }
  }
}

// Eight rows from `row` on; fewer than eight are taken one by one, each in all lanes.
template <class S, class K>
inline void StepBlockTimesChunk(const MatMulOp& op, int64_t row, int64_t row_end, int64_t first, int64_t tokens,
                                StepScratch& s) {
  const int64_t pieces = PieceCount(op.w.cols), row_bytes = op.w.row_bytes();
  const int64_t x_stride = PieceIndex(op.phase, 0, 1, pieces, op.tokens);
  const int64_t rows = row_end - row < kStepRows ? 1 : kStepRows;
  const int64_t stride = rows == 1 ? 0 : row_bytes;
  for (int64_t r = row, i = 0; r < row_end; r += rows, ++i) {
    memset(s.sums[i], 0, static_cast<size_t>(tokens * kStepRows) * sizeof(float));
  }
  const int64_t bytes = RowBytes(op.w.dtype, kPiece);
  for (int64_t p = 0; p < pieces; ++p) {
    const auto* x = static_cast<const StepPiece*>(op.activations) + PieceIndex(op.phase, p, first, pieces, op.tokens);
    for (int64_t r = row, i = 0; r < row_end; r += rows, ++i) {
      const std::byte* at = op.w.data + r * row_bytes + p * bytes;
      const std::byte* next = op.w.data + (r + kStepRows) * row_bytes + p * kStepRows * bytes;
      AddPieceOfRows<S, K>(at, stride, next, op.w.cols - p * kPiece, x, x_stride, tokens, s.sums[i]);
    }
  }
  for (int64_t r = row, i = 0; r < row_end; r += rows, ++i) {
    for (int64_t t = 0; t < tokens; ++t) {
      const auto* x = static_cast<const StepPiece*>(op.activations);
      const float scale = x[PieceIndex(op.phase, 0, first + t, pieces, op.tokens)].scale;
      for (int64_t k = 0; k < rows; ++k) {
        WriteOutput(op, r + k, first + t, s.sums[i][t * kStepRows + k] * scale);
      }
    }
  }
}

template <class S, class K>
inline void StepProductOf(const MatMulOp& op, int64_t row_begin, int64_t row_end, StepScratch& s) {
  const int64_t block = op.phase == Phase::kPrompt ? kStepBlock : kStepRows;
  for (int64_t row = row_begin; row < row_end;) {
    int64_t end = Smaller(row_end, row + block);
    if (end - row > kStepRows) end -= (end - row) % kStepRows;
    for (int64_t first = 0; first < op.tokens; first += kTokenChunk) {
      StepBlockTimesChunk<S, K>(op, row, end, first, Smaller(kTokenChunk, op.tokens - first), s);
    }
    row = end;
  }
}

// Products<bits>, the target's part: ByteProducts or the like of it.
template <template <int> class Products>
inline void StepProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, StepScratch& s) {
  switch (op.w.dtype) {
    case DType::kQ4_0:
      return StepProductOf<StepsQ4_0, Products<4>>(op, row_begin, row_end, s);
    case DType::kQ4_K:
      return StepProductOf<StepsQ4_K, Products<4>>(op, row_begin, row_end, s);
    case DType::kQ5_K:
      return StepProductOf<StepsQ5_K, Products<5>>(op, row_begin, row_end, s);
    case DType::kQ6_K:
      return StepProductOf<StepsQ6_K, Products<6>>(op, row_begin, row_end, s);
    default:
      return;
  }
}

}  // namespace
}  // namespace inkstone

// Packed activations of the x86 targets, and how rows are packed. One copy per target, as in unpack.h.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"
#include "kernels/q15.h"
#include "kernels/x86/unpack.h"

namespace inkstone {
namespace {

// 256 consecutive values of one token, quantized as q15.h says; beyond the last column all zero. Each run of kRun
// values (a target's choice) has those with even index first, then the odd ones: they meet weights whose bytes were
// widened to 16 bits in place. Prompt: (pieces, tokens), so that a piece of the weights streams over its tokens.
// Decode: (tokens, pieces).
struct alignas(64) QuantizedPiece {
  int16_t q[kPiece];
  float total16[kPieceGroups];  // sum of q over each 16 values; exact
  float total[kPieceBlocks];    // sum of q over each 32 values; exact
  float scale;                  // of all values of the token
};

// Of a piece's groups of kGroup values.
template <int kGroup>
inline const float* GroupTotals(const QuantizedPiece& x) {
  return kGroup == 32 ? x.total : x.total16;
}
// Where, in a piece, value `i` of a run's even half stands; the odd half follows kRun / 2 later.
template <int kRun>
inline constexpr int EvenPlace(int i) {
  return i / kRun * kRun + i % kRun / 2;
}

inline int64_t PieceCount(int64_t cols) { return (cols + kPiece - 1) / kPiece; }

// Columns of kF32 activations, padded with zeros to pieces of kFloatPad columns that lie as QuantizedPieces do, so
// decode sees plain rows.
inline constexpr int64_t kFloatPad = 64;  // kFloatPiece of float_matmul.h
inline int64_t PaddedCols(int64_t cols) { return (cols + kFloatPad - 1) / kFloatPad * kFloatPad; }

inline int64_t PieceIndex(Phase phase, int64_t piece, int64_t token, int64_t pieces, int64_t tokens) {
  return phase == Phase::kPrompt ? piece * tokens + token : token * pieces + piece;
}

inline float MaxLane8(__m256 v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}

// The largest magnitude of `count` values, a multiple of 32.
inline float Largest(const float* x, int64_t count) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 top[4] = {};
  for (int64_t i = 0; i < count; i += 32) {
    for (int k = 0; k < 4; ++k) top[k] = _mm256_max_ps(top[k], _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i + 8 * k)));
  }
  return MaxLane8(_mm256_max_ps(_mm256_max_ps(top[0], top[1]), _mm256_max_ps(top[2], top[3])));
}

// Values 32 * b .. 32 * b + 31 of a piece.
template <int kRun>
inline void QuantizeBlock(const float* x, int b, float inverse, QuantizedPiece& out) {
  __m256 v[4];
  for (int i = 0; i < 4; ++i) {
    const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), _mm256_set1_ps(inverse));
    v[i] = _mm256_castsi256_ps(_mm256_cvtps_epi32(scaled));
  }
  // Both steps interleave 128-bit halves; the permutation restores the order.
  const auto half = [&](auto pick) {
    const __m256i low = _mm256_castps_si256(pick(v[0], v[1])), high = _mm256_castps_si256(pick(v[2], v[3]));
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi32(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  };
  const __m256i even = half([](__m256 a, __m256 c) { return _mm256_shuffle_ps(a, c, 0x88); });
  const __m256i odd = half([](__m256 a, __m256 c) { return _mm256_shuffle_ps(a, c, 0xdd); });
  int16_t* place = out.q + EvenPlace<kRun>(32 * b);
  StoreAligned(place, even);
  StoreAligned(place + kRun / 2, odd);
  const __m256i ones = _mm256_set1_epi16(1);
  alignas(32) int32_t fours[8];  // sums of four neighbours
  StoreAligned(fours, _mm256_add_epi32(_mm256_madd_epi16(even, ones), _mm256_madd_epi16(odd, ones)));
  const int32_t low = fours[0] + fours[1] + fours[2] + fours[3], high = fours[4] + fours[5] + fours[6] + fours[7];
  out.total[b] = static_cast<float>(low + high);
  out.total16[2 * b] = static_cast<float>(low);
  out.total16[2 * b + 1] = static_cast<float>(high);
}

// What a token's values are multiplied with, and its inverse.
struct TokenScale {
  float inverse = 0.0f;
  float scale = 0.0f;
};
inline TokenScale ScaleOf(const float* x, int64_t cols) {
  const float largest = Largest(x, cols);
  if (largest < kQ15Smallest) return {};
  return {.inverse = static_cast<float>(kQ15Max) / largest, .scale = largest / static_cast<float>(kQ15Max)};
}

// Piece `piece` of a token's `cols` values.
template <int kRun>
inline void QuantizePiece(const float* x, int64_t piece, int64_t cols, TokenScale scale, QuantizedPiece& out) {
  const float zeros[32] = {};
  for (int b = 0; b < kPieceBlocks; ++b) {
    const int64_t col = piece * kPiece + b * 32;
    QuantizeBlock<kRun>(col < cols ? x + col : zeros, b, scale.inverse, out);
  }
  out.scale = scale.scale;
}

inline ActivationFormat ActivationFormatX86(DType weight, Phase) {
  return IsFloat(weight) ? ActivationFormat::kF32 : ActivationFormat::kQ15;
}

inline int64_t PackGrainX86(ActivationFormat, Phase) { return 1; }

inline size_t PackedBytesX86(ActivationFormat format, Phase, int64_t tokens, int64_t cols) {
  if (format == ActivationFormat::kF32) return static_cast<size_t>(tokens * PaddedCols(cols)) * sizeof(float);
  return static_cast<size_t>(tokens * PieceCount(cols)) * sizeof(QuantizedPiece);
}

template <int kRun>
inline void PackX86(ActivationFormat format, Phase phase, const float* x, int64_t x_stride, int64_t tokens,
                    int64_t cols, int64_t token_begin, int64_t token_end, void* packed) {
  if (format == ActivationFormat::kQ15) {
    auto* out = static_cast<QuantizedPiece*>(packed);
    const int64_t pieces = PieceCount(cols);
    for (int64_t t = token_begin; t < token_end; ++t) {
      const float* row = x + t * x_stride;
      const TokenScale scale = ScaleOf(row, cols);
      for (int64_t p = 0; p < pieces; ++p) {
        QuantizePiece<kRun>(row, p, cols, scale, out[PieceIndex(phase, p, t, pieces, tokens)]);
      }
    }
    return;
  }
  const int64_t pieces = PaddedCols(cols) / kFloatPad;
  for (int64_t t = token_begin; t < token_end; ++t) {
    for (int64_t p = 0; p < pieces; ++p) {
      float* out = static_cast<float*>(packed) + PieceIndex(phase, p, t, pieces, tokens) * kFloatPad;
      const int64_t count = cols - p * kFloatPad < kFloatPad ? cols - p * kFloatPad : kFloatPad;
      memcpy(out, x + t * x_stride + p * kFloatPad, static_cast<size_t>(count) * sizeof(float));
      memset(out + count, 0, static_cast<size_t>(kFloatPad - count) * sizeof(float));
    }
  }
}

// Touches [p, p + bytes) ahead of its use, to the cache of a level.
template <int64_t kBytes, int kLevel = 1>
inline void PrefetchAhead(const std::byte* p) {
  for (int64_t i = 0; i < kBytes; i += 64) __builtin_prefetch(p + i, 0, 4 - kLevel);
}
// A single stream per thread with software prefetch this far ahead reads fastest (docs of the kernels' benchmark).
inline constexpr int64_t kPrefetchDistance = 4096;

}  // namespace
}  // namespace inkstone

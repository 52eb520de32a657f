// Activations of ActivationFormat::kSteps, and how rows are packed to it. One copy per target, as in unpack.h.
//
// A token's values become integers v of up to 15 bits and one f32 scale, as q15.h has it, and these are split:
// v = step * q + r, with one integer step for 16 values, so that q takes eight bits. Where a group is coarse, which
// outliers make it, its remainders r are multiplied too and v is exact; elsewhere v means step * q. All of a piece's
// product is exact integer arithmetic, with the integer scales of K-quants.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/steps.h"
#include "kernels/x86/activations.h"

namespace inkstone {
namespace {

// 256 consecutive values of one token; beyond the last column all zero. Prompt: (pieces, tokens). Decode: (tokens,
// pieces).
struct alignas(64) StepPiece {
  int8_t q[kPiece];
  int8_t r[kPiece];                  // 0 where no reader needs it
  int16_t v[kPiece];                 // what types of eight bits multiply
  uint32_t step[kPieceGroups];       // of 16 values, in both words
  uint32_t steps[kPieceGroups / 2];  // of two neighbours
  // Sums over 32 values as readers of `coarse` see them, two neighbours in the words of a dword: high * 256 + low.
  uint32_t high32[kPieceBlocks / 2], low32[kPieceBlocks / 2];
  // Over 16 values, as readers of `fine` see them.
  uint32_t high16[kPieceGroups / 2], low16[kPieceGroups / 2];
  uint32_t coarse;  // bit b: types of up to five bits multiply the remainders of values 32 * b ..
  uint32_t fine;    // the same for types of six bits
  float scale;      // of all values of the token
};

inline float SumLanes8(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
inline int32_t SumLanes(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

// What a whole token decides.
struct StepScale {
  TokenScale scale;
  float coarse = 0.0f;  // groups with a larger value are coarse, or fine; in units of the scale
  float fine = 0.0f;
};
inline StepScale StepScaleOf(const float* x, int64_t cols) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  float largest = 0.0f, largest_sum = 0.0f, squares = 0.0f;
  for (int64_t begin = 0; begin < cols; begin += kPiece) {
    __m256 top = _mm256_setzero_ps(), sum = top, square = top;
    for (int64_t i = begin; i < cols && i < begin + kPiece; i += 8) {
      const __m256 v = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i));
      top = _mm256_max_ps(top, v);
      sum = _mm256_add_ps(sum, v);
      square = _mm256_fmadd_ps(v, v, square);
    }
    const float piece_top = MaxLane8(top), piece_sum = SumLanes8(sum);
    largest = piece_top > largest ? piece_top : largest;
    largest_sum = piece_sum > largest_sum ? piece_sum : largest_sum;
    squares += SumLanes8(square);
  }
  if (largest < kQ15Smallest) return {};
  const float by_sum = largest_sum / static_cast<float>(kStepsMaxSum);
  const float by_top = largest / static_cast<float>(kQ15Max);
  const float scale = by_sum > by_top ? by_sum : by_top;
  const float rms = std::sqrt(squares / static_cast<float>(cols)) / scale;
  return {.scale = {.inverse = 1.0f / scale, .scale = scale}, .coarse = rms * kStepsCoarse, .fine = rms * kStepsFine};
}

// 16 values as integers and as a step times bytes.
struct StepGroup {
  __m256i values;     // int16
  __m256i remainder;  // int16
  __m128i q;          // int8
  int32_t step;
  int32_t top;  // the largest |value|
};
inline __m256i PackWords(__m256i low, __m256i high) {
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
}
inline __m128i PackBytes(__m256i words) {
  return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
inline StepGroup SplitGroup(const float* x, float inverse) {
  StepGroup g;
  const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), _mm256_set1_ps(inverse)));
  const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), _mm256_set1_ps(inverse)));
  g.values = PackWords(low, high);
  const __m256i magnitude = _mm256_abs_epi16(g.values);
  const __m128i top = _mm_max_epu16(_mm256_castsi256_si128(magnitude), _mm256_extracti128_si256(magnitude, 1));
  g.top = 0xffff - (_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_xor_si128(top, _mm_set1_epi32(-1)))) & 0xffff);
  g.step = g.top <= 127 ? 1 : (g.top + 126) / 127;
  const __m256 share = _mm256_set1_ps(1.0f / static_cast<float>(g.step));
  const __m256i q = PackWords(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(low), share)),
                              _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(high), share)));
  g.q = PackBytes(q);
  g.remainder = _mm256_sub_epi16(g.values, _mm256_mullo_epi16(q, _mm256_set1_epi16(static_cast<int16_t>(g.step))));
  return g;
}
inline int32_t SumWords(__m256i words) { return SumLanes(_mm256_madd_epi16(words, _mm256_set1_epi16(1))); }

// Two sums as a dword of the high parts and one of the low parts.
inline void StoreSums(int32_t a, int32_t b, uint32_t& high, uint32_t& low) {
  const int32_t ha = (a + 128) >> 8, hb = (b + 128) >> 8;
  high = static_cast<uint16_t>(ha) | static_cast<uint32_t>(static_cast<uint16_t>(hb)) << 16;
  low = static_cast<uint16_t>(a - ha * 256) | static_cast<uint32_t>(static_cast<uint16_t>(b - hb * 256)) << 16;
}

// Values 32 * b .. 32 * b + 31 of a piece; gives their sum for `coarse`.
inline int32_t SplitBlock(const float* x, int b, const StepScale& token, StepPiece& out) {
  const StepGroup g[2] = {SplitGroup(x, token.scale.inverse), SplitGroup(x + 16, token.scale.inverse)};
  const auto top = static_cast<float>(g[0].top > g[1].top ? g[0].top : g[1].top);
  const bool rough = g[0].step > 1 || g[1].step > 1;
  const bool coarse = rough && top > token.coarse, fine = rough && top > token.fine;
  out.coarse |= static_cast<uint32_t>(coarse) << b;
  out.fine |= static_cast<uint32_t>(fine) << b;
  int32_t sum32 = 0, sum16[2];
  for (int h = 0; h < 2; ++h) {
    _mm_store_si128(reinterpret_cast<__m128i*>(out.q + 32 * b + 16 * h), g[h].q);
    const __m128i r = coarse || fine ? PackBytes(g[h].remainder) : _mm_setzero_si128();
    _mm_store_si128(reinterpret_cast<__m128i*>(out.r + 32 * b + 16 * h), r);
    StoreAligned(out.v + 32 * b + 16 * h, g[h].values);
    out.step[2 * b + h] = static_cast<uint32_t>(g[h].step) * 0x10001u;
    const int32_t exact = SumWords(g[h].values), without = exact - SumWords(g[h].remainder);
    sum32 += coarse ? exact : without;
    sum16[h] = fine ? exact : without;
  }
  out.steps[b] = static_cast<uint32_t>(g[0].step) | static_cast<uint32_t>(g[1].step) << 16;
  StoreSums(sum16[0], sum16[1], out.high16[b], out.low16[b]);
  return sum32;
}

inline void SplitPiece(const float* x, int64_t piece, int64_t cols, const StepScale& token, StepPiece& out) {
  const float zeros[32] = {};
  out.coarse = out.fine = 0;
  for (int b = 0; b < kPieceBlocks; b += 2) {
    int32_t sum[2];
    for (int i = 0; i < 2; ++i) {
      const int64_t col = piece * kPiece + (b + i) * 32;
      sum[i] = SplitBlock(col < cols ? x + col : zeros, b + i, token, out);
    }
    StoreSums(sum[0], sum[1], out.high32[b / 2], out.low32[b / 2]);
  }
  out.scale = token.scale.scale;
}

inline void PackSteps(Phase phase, const float* x, int64_t x_stride, int64_t tokens, int64_t cols, int64_t token_begin,
                      int64_t token_end, void* packed) {
  auto* out = static_cast<StepPiece*>(packed);
  const int64_t pieces = PieceCount(cols);
  for (int64_t t = token_begin; t < token_end; ++t) {
    const float* row = x + t * x_stride;
    const StepScale scale = StepScaleOf(row, cols);
    for (int64_t p = 0; p < pieces; ++p) {
      SplitPiece(row, p, cols, scale, out[PieceIndex(phase, p, t, pieces, tokens)]);
    }
  }
}

// The parts of a table whose targets have such products.
template <bool kIQ4Prompts>
inline ActivationFormat StepFormatFor(DType weight, Phase phase) {
  return TakesSteps(weight, phase, kIQ4Prompts) ? ActivationFormat::kSteps : ActivationFormatX86(weight, phase);
}
inline size_t StepPackedBytes(ActivationFormat format, Phase phase, int64_t tokens, int64_t cols) {
  if (format != ActivationFormat::kSteps) return PackedBytesX86(format, phase, tokens, cols);
  return static_cast<size_t>(tokens * PieceCount(cols)) * sizeof(StepPiece);
}
template <int kRun>
inline void StepPack(ActivationFormat format, Phase phase, const float* x, int64_t x_stride, int64_t tokens,
                     int64_t cols, int64_t token_begin, int64_t token_end, void* packed) {
  if (format != ActivationFormat::kSteps) {
    return PackX86<kRun>(format, phase, x, x_stride, tokens, cols, token_begin, token_end, packed);
  }
  PackSteps(phase, x, x_stride, tokens, cols, token_begin, token_end, packed);
}

}  // namespace
}  // namespace inkstone

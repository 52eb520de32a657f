// Packed activations of the x86 targets, and how rows are packed. One copy per target, as in unpack.h.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"
#include "kernels/q8.h"
#include "kernels/x86/unpack.h"

namespace inkstone {
namespace {

// 256 consecutive values of one token, quantized as q8.h says; beyond the last column all zero.
// Prompt: (pieces, tokens), so that a piece of the weights streams over its tokens. Decode: (tokens, pieces).
struct alignas(64) QuantizedPiece {
  int8_t q[kPiece];
  float scale16[kPieceGroups];    // scale of each 16 values
  float sum16[kPieceGroups];      // scale * sum of q over each 16 values
  int32_t total16[kPieceGroups];  // sum of q over each 16 values
  float scale[kPieceBlocks];      // of each 32 values
  float sum[kPieceBlocks];        // scale * sum of q over each 32 values
  int32_t total[kPieceBlocks];    // sum of q over each 32 values
};

// Of a piece's groups of kGroup values.
template <int kGroup>
inline const float* GroupScales(const QuantizedPiece& x) {
  return kGroup == 32 ? x.scale : x.scale16;
}
template <int kGroup>
inline const float* GroupSums(const QuantizedPiece& x) {
  return kGroup == 32 ? x.sum : x.sum16;
}
template <int kGroup>
inline const int32_t* GroupTotals(const QuantizedPiece& x) {
  return kGroup == 32 ? x.total : x.total16;
}

inline int64_t PieceCount(int64_t cols) { return (cols + kPiece - 1) / kPiece; }

// Columns of kF32 activations, padded with zeros to pieces of kFloatPad columns that lie as QuantizedPieces do, so
// decode sees plain rows.
inline constexpr int64_t kFloatPad = 64;  // kFloatPiece of float_matmul.h
inline int64_t PaddedCols(int64_t cols) { return (cols + kFloatPad - 1) / kFloatPad * kFloatPad; }

inline int64_t PieceIndex(Phase phase, int64_t piece, int64_t token, int64_t pieces, int64_t tokens) {
  return phase == Phase::kPrompt ? piece * tokens + token : token * pieces + piece;
}

inline void QuantizeBlock(const float* x, int b, QuantizedPiece& out) {
  __m256 v[4];
  __m256 top = _mm256_setzero_ps();
  const __m256 sign = _mm256_set1_ps(-0.0f);
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + 8 * i);
    top = _mm256_max_ps(top, _mm256_andnot_ps(sign, v[i]));
  }
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(top), _mm256_extractf128_ps(top, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  m = _mm_max_ss(m, _mm_shuffle_ps(m, m, 1));
  const float amax = _mm_cvtss_f32(m);
  const bool zero = amax < kQ8Smallest;
  const float scale = zero ? 0.0f : amax / 127.0f;
  const __m256 inverse = _mm256_set1_ps(zero ? 0.0f : 127.0f / amax);
  __m256i q[4];
  for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
  // packs interleaves 128-bit halves; the permutation restores the order of the 32 bytes.
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  const __m256i bytes = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  StoreAligned(out.q + 32 * b, bytes);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
  const __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  alignas(32) int32_t lanes[8];
  StoreAligned(lanes, quads);
  const int32_t low = lanes[0] + lanes[1] + lanes[2] + lanes[3];
  const int32_t high = lanes[4] + lanes[5] + lanes[6] + lanes[7];
  out.scale[b] = out.scale16[2 * b] = out.scale16[2 * b + 1] = scale;
  out.sum[b] = scale * static_cast<float>(low + high);
  out.total[b] = low + high;
  out.total16[2 * b] = low;
  out.total16[2 * b + 1] = high;
  out.sum16[2 * b] = scale * static_cast<float>(low);
  out.sum16[2 * b + 1] = scale * static_cast<float>(high);
}

// Piece `piece` of a token's `cols` values.
inline void QuantizePiece(const float* x, int64_t piece, int64_t cols, QuantizedPiece& out) {
  const float zeros[kQ8Group] = {};
  for (int b = 0; b < kPieceBlocks; ++b) {
    const int64_t col = piece * kPiece + b * kQ8Group;
    QuantizeBlock(col < cols ? x + col : zeros, b, out);
  }
}

inline void PackQuantized(Phase phase, const float* x, int64_t x_stride, int64_t tokens, int64_t cols,
                          int64_t token_begin, int64_t token_end, QuantizedPiece* packed) {
  const int64_t pieces = PieceCount(cols);
  for (int64_t t = token_begin; t < token_end; ++t) {
    for (int64_t p = 0; p < pieces; ++p) {
      QuantizePiece(x + t * x_stride, p, cols, packed[PieceIndex(phase, p, t, pieces, tokens)]);
    }
  }
}

inline ActivationFormat ActivationFormatX86(DType weight, Phase) {
  return IsFloat(weight) ? ActivationFormat::kF32 : ActivationFormat::kQ8;
}

inline int64_t PackGrainX86(ActivationFormat, Phase) { return 1; }

inline size_t PackedBytesX86(ActivationFormat format, Phase, int64_t tokens, int64_t cols) {
  if (format == ActivationFormat::kF32) return static_cast<size_t>(tokens * PaddedCols(cols)) * sizeof(float);
  return static_cast<size_t>(tokens * PieceCount(cols)) * sizeof(QuantizedPiece);
}

inline void PackX86(ActivationFormat format, Phase phase, const float* x, int64_t x_stride, int64_t tokens,
                    int64_t cols, int64_t token_begin, int64_t token_end, void* packed) {
  if (format == ActivationFormat::kQ8) {
    PackQuantized(phase, x, x_stride, tokens, cols, token_begin, token_end, static_cast<QuantizedPiece*>(packed));
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

// Touches [p, p + bytes) ahead of its use.
template <int64_t kBytes>
inline void PrefetchAhead(const std::byte* p) {
  for (int64_t i = 0; i < kBytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + i), _MM_HINT_T0);
}
// A single stream per thread with software prefetch this far ahead reads fastest (docs of the kernels' benchmark).
inline constexpr int64_t kPrefetchDistance = 4096;

}  // namespace
}  // namespace inkstone

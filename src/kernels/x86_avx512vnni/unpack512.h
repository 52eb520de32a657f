// Unpacks 256 consecutive quantized weights into four 64-byte registers (AVX-512 BW). One copy per file: internal
// linkage.
#pragma once

#include "kernels/x86/unpack.h"

namespace inkstone {
namespace {

inline constexpr int kQuarters = 4;  // registers of 64 weights in a piece

// A vector whose lower and upper 256 bits hold this in every 16 bits.
inline __m512i LowHigh16(int16_t low, int16_t high) {
  return _mm512_inserti64x4(_mm512_set1_epi16(low), _mm256_set1_epi16(high), 1);
}
inline __m512i TwoRegisters(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// The eight registers of U::Weights in four; the types whose bytes lie well for it have a shorter way.
template <class U>
struct Wide {
  static inline void Weights(const typename U::Block* b, __m512i* q) {
    __m256i half[kPieceBlocks];
    U::Weights(b, half);
    for (int j = 0; j < kQuarters; ++j) q[j] = TwoRegisters(half[2 * j], half[2 * j + 1]);
  }
  static inline void Scales(const typename U::Block* b, Piece& p) { U::Scales(b, p); }
};

// Scales that begin each of eight blocks of 18 bytes: words 0, 9, .. 63.
inline void ScalesEveryNineWords(const void* blocks, Piece& p) {
  const __m512i low = _mm512_loadu_si512(blocks);
  const __m512i high = _mm512_loadu_si512(static_cast<const std::byte*>(blocks) + 64);
  const __m512i words = _mm512_castsi128_si512(_mm_setr_epi16(0, 9, 18, 27, 36, 45, 54, 63));
  p.scale[0] = _mm256_cvtph_ps(_mm512_castsi512_si128(_mm512_permutex2var_epi16(low, words, high)));
}

// 16 bytes of nibbles for each 32 weights.
template <class U>
struct WideNibbles {
  static inline void Weights(const typename U::Block* b, __m512i* q) {
    const __m512i shift = _mm512_broadcast_i64x4(_mm256_setr_epi64x(0, 0, 0x0004000400040004, 0x0004000400040004));
    for (int j = 0; j < kQuarters; ++j) {
      const __m512i low = _mm512_broadcast_i32x4(Load128(b[2 * j].qs));
      const __m512i both = _mm512_mask_broadcast_i32x4(low, 0xff00, Load128(b[2 * j + 1].qs));
      q[j] = _mm512_and_si512(_mm512_srlv_epi16(both, shift), _mm512_set1_epi8(15));
    }
  }
};
template <>
struct Wide<UnpackQ4_0> : WideNibbles<UnpackQ4_0> {
  static inline void Scales(const BlockQ4_0* b, Piece& p) { ScalesEveryNineWords(b, p); }
};
template <>
struct Wide<UnpackQ4_1> : WideNibbles<UnpackQ4_1> {
  static inline void Scales(const BlockQ4_1* b, Piece& p) { UnpackQ4_1::Scales(b, p); }
};

template <>
struct Wide<UnpackQ4_K> {
  static inline void Scales(const BlockQ4_K* b, Piece& p) { UnpackQ4_K::Scales(b, p); }
  static inline void Weights(const BlockQ4_K* b, __m512i* q) {
    for (int j = 0; j < kQuarters; ++j) {
      const __m512i both = _mm512_broadcast_i64x4(Load256(b->qs + 32 * j));
      q[j] = _mm512_and_si512(_mm512_srlv_epi16(both, LowHigh16(0, 4)), _mm512_set1_epi8(15));
    }
  }
};

template <>
struct Wide<UnpackQ6_K> {
  static inline void Scales(const BlockQ6_K* b, Piece& p) { UnpackQ6_K::Scales(b, p); }
  static inline void Weights(const BlockQ6_K* b, __m512i* q) {
    const __m512i four = _mm512_set1_epi8(15), two = _mm512_set1_epi8(48);
    constexpr int kMerge = 0xf8;  // a | (b & c)
    for (int h = 0; h < 2; ++h) {
      const __m512i low = _mm512_loadu_si512(b->ql + 64 * h);
      const __m512i high = _mm512_broadcast_i64x4(Load256(b->qh + 32 * h));
      q[2 * h] =
          _mm512_ternarylogic_epi32(_mm512_and_si512(low, four), _mm512_sllv_epi16(high, LowHigh16(4, 2)), two, kMerge);
      q[2 * h + 1] = _mm512_ternarylogic_epi32(_mm512_and_si512(_mm512_srli_epi16(low, 4), four),
                                               _mm512_srlv_epi16(high, LowHigh16(0, 2)), two, kMerge);
    }
  }
};

}  // namespace
}  // namespace inkstone

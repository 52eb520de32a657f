// Sixteen floats in an AVX-512 register: the vector that the kernels in kernels/simd/ are written against.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inkstone {
namespace {

struct Vec {
  using F = __m512;
  static constexpr int kLanes = 16;

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set(float x) { return _mm512_set1_ps(x); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, F v) { _mm512_storeu_ps(p, v); }
  // Loads or stores the first n < kLanes lanes; the others read as zero.
  static F LoadPart(const float* p, int n) { return _mm512_maskz_loadu_ps(Mask(n), p); }
  static void StorePart(float* p, F v, int n) { _mm512_mask_storeu_ps(p, Mask(n), v); }

  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F MulAdd(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }      // a * b + c
  static F NegMulAdd(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a * b
  static F Round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // 2^n for integral n in [-126, 127].
  static F Pow2(F n) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
  }
  // v where x >= limit, else 0.
  static F ZeroBelow(F v, F x, F limit) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GE_OQ), v); }
  // The first n lanes of v, `other` elsewhere.
  static F Select(F v, F other, int n) { return _mm512_mask_mov_ps(other, Mask(n), v); }

  // Lane i: the sum of v[i]'s lanes.
  static F SumEach(const F v[kLanes]) {
    F a[8], b[4];
    for (int i = 0; i < 8; ++i) {
      a[i] = Add(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    }
    for (int i = 0; i < 4; ++i) {
      b[i] = Add(_mm512_shuffle_ps(a[2 * i], a[2 * i + 1], 0x44), _mm512_shuffle_ps(a[2 * i], a[2 * i + 1], 0xee));
    }
    // Now quarter q lane j of b[i] belongs to v[4i + j].
    const F low = Add(_mm512_shuffle_f32x4(b[0], b[1], 0x88), _mm512_shuffle_f32x4(b[0], b[1], 0xdd));
    const F high = Add(_mm512_shuffle_f32x4(b[2], b[3], 0x88), _mm512_shuffle_f32x4(b[2], b[3], 0xdd));
    return Add(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xdd));
  }
  // Of half a register.
  static float Sum8(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
  }
  static float Sum(F v) { return Sum8(_mm256_add_ps(Low(v), High(v))); }
  static float MaxLane(F v) {
    const __m256 half = _mm256_max_ps(Low(v), High(v));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
  }

  static F LoadF16(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
  static F LoadBF16(const void* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static void StoreF16(void* p, F v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }

  static F LoadInt8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
  }
  // Integral values in [-128, 127].
  static void StoreInt8(void* p, F v) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
  }

  // 16 integers, and those that the low or high halves of kLanes bytes point at.
  using Table = F;
  static Table LoadTable(const int8_t levels[16]) { return LoadInt8(levels); }
  static F LookUp(Table table, const std::byte* p, bool high) {
    const __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm512_permutexvar_ps(high ? _mm512_srli_epi32(codes, 4) : codes, table);  // minds the low four bits alone
  }
  // The bf16 value at p in every lane. Reads the two bytes before it too.
  static F SetBF16(const std::byte* p) {
    float value;
    memcpy(&value, p - 2, sizeof(value));
    return _mm512_and_ps(Set(value), _mm512_castsi512_ps(_mm512_set1_epi32(-65536)));
  }

  // Lanes i and i ^ kDistance exchanged.
  template <int kDistance>
  static F Exchange(F v) {
    if constexpr (kDistance >= 4) return _mm512_shuffle_f32x4(v, v, kDistance == 4 ? 0xb1 : 0x4e);
    return _mm512_permute_ps(v, kDistance == 1 ? 0xb1 : 0x4e);
  }
  static F SwapPairs(F v) { return Exchange<1>(v); }
  // Eight values, each twice.
  static F LoadTwice(const float* p) {
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
  }
  // a * b - c in even lanes, a * b + c in odd ones.
  static F MulSubAdd(F a, F b, F c) { return _mm512_fmaddsub_ps(a, b, c); }

  static void Transpose(F v[kLanes]) {
    F a[16], b[16];
    for (int i = 0; i < 8; ++i) {
      a[2 * i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]);
      a[2 * i + 1] = _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
    // Now 4x4 blocks within 128-bit quarters: b[4i + c], quarter q holds column 4q + c of rows 4i .. 4i+3.
    for (int i = 0; i < 4; ++i) {
      b[4 * i] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
      b[4 * i + 1] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
      b[4 * i + 2] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
      b[4 * i + 3] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
    for (int c = 0; c < 4; ++c) {
      const F low01 = _mm512_shuffle_f32x4(b[c], b[4 + c], 0x44);
      const F low23 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0x44);
      const F high01 = _mm512_shuffle_f32x4(b[c], b[4 + c], 0xee);
      const F high23 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0xee);
      v[c] = _mm512_shuffle_f32x4(low01, low23, 0x88);
      v[4 + c] = _mm512_shuffle_f32x4(low01, low23, 0xdd);
      v[8 + c] = _mm512_shuffle_f32x4(high01, high23, 0x88);
      v[12 + c] = _mm512_shuffle_f32x4(high01, high23, 0xdd);
    }
  }

 private:
  static __mmask16 Mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static __m256 Low(F v) { return _mm512_castps512_ps256(v); }
  static __m256 High(F v) { return _mm512_extractf32x8_ps(v, 1); }
};

}  // namespace
}  // namespace inkstone

// Eight floats in an AVX2 register: the vector that the kernels in kernels/simd/ are written against.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inkstone {
namespace {

struct Vec {
  using F = __m256;
  static constexpr int kLanes = 8;

  static F Zero() { return _mm256_setzero_ps(); }
  static F Set(float x) { return _mm256_set1_ps(x); }
  static F Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, F v) { _mm256_storeu_ps(p, v); }
  // Loads or stores the first n < kLanes lanes; the others read as zero.
  static F LoadPart(const float* p, int n) { return _mm256_maskload_ps(p, Mask(n)); }
  static void StorePart(float* p, F v, int n) { _mm256_maskstore_ps(p, Mask(n), v); }

  static F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm256_div_ps(a, b); }
  static F Max(F a, F b) { return _mm256_max_ps(a, b); }
  static F Min(F a, F b) { return _mm256_min_ps(a, b); }
  static F MulAdd(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }      // a * b + c
  static F NegMulAdd(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a * b
  static F Round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // 2^n for integral n in [-126, 127].
  static F Pow2(F n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
  }
  // v where x >= limit, else 0.
  static F ZeroBelow(F v, F x, F limit) { return _mm256_and_ps(v, _mm256_cmp_ps(x, limit, _CMP_GE_OQ)); }
  // The first n lanes of v, `other` elsewhere.
  static F Select(F v, F other, int n) { return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(Mask(n))); }

  // Lane i: the sum of v[i]'s lanes.
  static F SumEach(const F v[kLanes]) {
    const F low = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    const F high = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    return Add(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
  }
  static float Sum(F v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
  }
  static float MaxLane(F v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
  }

  static F LoadF16(const void* p) { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static F LoadBF16(const void* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  static void StoreF16(void* p, F v) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }

  static F LoadInt8(const void* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  }
  // Integral values in [-128, 127].
  static void StoreInt8(void* p, F v) {
    const __m256i wide = _mm256_cvtps_epi32(v);
    const __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi16(half, half));
  }

  // 16 integers, and those that the low or high halves of kLanes bytes point at.
  using Table = __m128i;
  static Table LoadTable(const int8_t levels[16]) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(levels)); }
  static F LookUp(Table table, const std::byte* p, bool high) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m128i codes = _mm_and_si128(high ? _mm_srli_epi16(bytes, 4) : bytes, _mm_set1_epi8(15));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_shuffle_epi8(table, codes)));
  }
  // The bf16 value at p in every lane. Reads the two bytes before it too.
  static F SetBF16(const std::byte* p) {
    float value;
    memcpy(&value, p - 2, sizeof(value));
    return _mm256_and_ps(Set(value), _mm256_castsi256_ps(_mm256_set1_epi32(-65536)));
  }

  // Lanes i and i ^ kDistance exchanged.
  template <int kDistance>
  static F Exchange(F v) {
    if constexpr (kDistance == 4) return _mm256_permute2f128_ps(v, v, 0x01);
    return _mm256_permute_ps(v, kDistance == 1 ? 0xb1 : 0x4e);
  }
  static F SwapPairs(F v) { return Exchange<1>(v); }
  // Four values, each twice.
  static F LoadTwice(const float* p) {
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
  }
  // a * b - c in even lanes, a * b + c in odd ones.
  static F MulSubAdd(F a, F b, F c) { return _mm256_fmaddsub_ps(a, b, c); }

  static void Transpose(F v[kLanes]) {
    F a[8], b[8];
    for (int i = 0; i < 4; ++i) {
      a[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
      a[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
      b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
      b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
      b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
      v[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
  }

 private:
  static __m256i Mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

}  // namespace
}  // namespace inkstone

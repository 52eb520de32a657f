// Products of eight rows, transposed on the way, with one token's activations of steps.h. One copy per target, as in
// unpack.h.
#pragma once

#include "kernels/x86/step_types.h"

namespace inkstone {
namespace {

// What memory brings 4 KB later, to the second level: the first level can wait for few lines only, and the next eight
// rows may not fit into it.
INKSTONE_INLINE inline void PrefetchLine(const std::byte* p) { __builtin_prefetch(p + 4096, 0, 2); }

// How bytes are multiplied: kSecondWord, whether scales stand in both words of a dword or in the low one; kTogether,
// how many products of four columns are added before they take the scale.
template <int kBits>
struct ByteProducts {
  static constexpr bool kSecondWord = true;
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

// Block `b` of 32 columns, unpacked in `u`; `scale` of each half, `stepped` the same times its step.
template <class S, class K>
INKSTONE_INLINE inline __m256i AddBlock(const __m256i (&u)[8], const __m256i (&scale)[2], const __m256i (&stepped)[2],
                                        const StepPiece& x, int64_t b, __m256i sum) {
  Unroll<2>([&](auto h) INKSTONE_INLINE { sum = Dot16<K>(u + 4 * h, x.q + 32 * b + 16 * h, stepped[h], sum); });
  if (HasRemainders<S>(x, b)) [[unlikely]] {
    Unroll<2>([&](auto h) INKSTONE_INLINE { sum = Dot16<K>(u + 4 * h, x.r + 32 * b + 16 * h, scale[h], sum); });
  }
  return sum;
}

// Adds a piece of eight rows times a token to eight floats.
template <class S, class K>
  requires(!S::kOwnScales)
[[gnu::noinline]] void AddPiece(const std::byte* p, int64_t stride, const std::byte* next, int64_t, const StepPiece& x,
                                float* sums) {
  constexpr int kLines = kStepRows * sizeof(typename S::Block) / 64;
  S w;
  w.Load(p, stride);
  __m256i dot = _mm256_setzero_si256(), high = dot, low = dot;
  Unroll<4>([&](auto pair) INKSTONE_INLINE {
    w.template LoadPair<pair>(p, stride);
    Unroll<2>([&](auto of_pair) INKSTONE_INLINE {
      constexpr int b = 2 * pair + of_pair;
      Unroll<(b + 1) * kLines / 8 - b * kLines / 8>(
          [&](auto line) INKSTONE_INLINE { PrefetchLine(next + (b * kLines / 8 + line) * 64); });
      __m256i u[8], scale[2], stepped[2];
      Unroll<8>([&](auto k) INKSTONE_INLINE { u[k] = w.template Columns<b>(k); });
      Unroll<2>([&](auto h) INKSTONE_INLINE {
        constexpr int group = 2 * b + h;
        scale[h] = w.template Scales<group, K::kSecondWord ? group : -1>();
        stepped[h] = _mm256_mullo_epi16(scale[h], SetDword(x.step[group]));
      });
      dot = AddBlock<S, K>(u, scale, stepped, x, b, dot);
    });
    Unroll<S::kSums / 4>([&](auto i) INKSTONE_INLINE {
      constexpr int index = pair * (S::kSums / 4) + i;
      const __m256i words = w.template SumWords<index>();
      high = _mm256_add_epi32(high, _mm256_madd_epi16(words, SetDword(HighSums<S>(x)[index])));
      low = _mm256_add_epi32(low, _mm256_madd_epi16(words, SetDword(LowSums<S>(x)[index])));
    });
  });
  const __m256i total = _mm256_add_epi32(_mm256_slli_epi32(high, 8), low);
  const HalfPairs factors = w.Factors();
  if constexpr (S::kShift > 0) dot = _mm256_sub_epi32(dot, _mm256_slli_epi32(total, S::kShift));
  __m256 sum = _mm256_fmadd_ps(factors.low, _mm256_cvtepi32_ps(dot), _mm256_loadu_ps(sums));
  if constexpr (S::kShift == 0) sum = _mm256_fnmadd_ps(factors.high, _mm256_cvtepi32_ps(total), sum);
  _mm256_storeu_ps(sums, sum);
}

// The same for types whose blocks of 32 have a scale of their own; a row's last piece may have fewer than eight.
template <class S, class K>
  requires(S::kOwnScales)
[[gnu::noinline]] void AddPiece(const std::byte* p, int64_t stride, const std::byte* next, int64_t blocks,
                                const StepPiece& x, float* sums) {
  constexpr int kBytes = sizeof(typename S::Block), kLines = (kStepRows * kBytes + 63) / 64;
  constexpr uint32_t kWords = K::kSecondWord ? 0xffffffffu : 0xffffu;
  const __m256i one[2] = {SetDword(0x10001u & kWords), SetDword(0x10001u & kWords)};
  for (int64_t b = 0; b < blocks; ++b) {
    Unroll<kLines>([&](auto line) INKSTONE_INLINE { PrefetchLine(next + b * kStepRows * kBytes + line * 64); });
    S w;
    w.Load(p + b * kBytes, stride);
    __m256i u[8];
    Unroll<8>([&](auto k) INKSTONE_INLINE { u[k] = w.Columns(k); });
    const __m256i step[2] = {SetDword(x.step[2 * b] & kWords), SetDword(x.step[2 * b + 1] & kWords)};
    __m256i dot = AddBlock<S, K>(u, one, step, x, b, _mm256_setzero_si256());
    dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(S::kBias * BlockTotal(x, b)));
    _mm256_storeu_ps(sums, _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), w.d, _mm256_loadu_ps(sums)));
  }
}

}  // namespace
}  // namespace inkstone

// Products of eight rows, transposed on the way, with one token's activations of steps.h. One copy per target, as in
// unpack.h.
#pragma once

#include "kernels/x86/step_types.h"

namespace inkstone {
namespace {

// What memory brings 4 KB later, to the second level: the first level can wait for few lines only, and the next eight
// rows may not fit into it.
INKSTONE_INLINE inline void PrefetchLine(const std::byte* p) { __builtin_prefetch(p + 4096, 0, 2); }

// The products of 16 columns as a target makes them: kSecondWord, whether scales stand in both words of a dword or in
// the low one; Stepped, a scale times a step; Dot16, 16 columns of weights times the bytes at `x` and such a scale,
// added to `sum`.

// Bytes multiplied to words; kTogether, how many of them are added before they take the scale.
template <int kBits>
struct ByteProducts {
  static constexpr bool kSecondWord = true;
  // Words hold 2 * 31 * 127 four times, 2 * 63 * 127 twice, 2 * 128 * 127 once.
  static constexpr int kTogether = kBits <= 5 ? 4 : kBits == 6 ? 2 : 1;
  INKSTONE_INLINE static __m256i Stepped(__m256i scale, uint32_t step) {
    return _mm256_mullo_epi16(scale, SetDword(step));
  }
  INKSTONE_INLINE static __m256i AddWords(__m256i sum, __m256i a, __m256i b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
  INKSTONE_INLINE static __m256i Multiply(__m256i w, __m256i x) {
    if constexpr (kBits == 8) return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_maddubs_epi16(w, x);
  }
  INKSTONE_INLINE static __m256i Dot16(const __m256i* w, const int8_t* x, __m256i scale, __m256i sum) {
    Unroll<4 / kTogether>([&](auto i) INKSTONE_INLINE {
      constexpr int first = i * kTogether;
      __m256i dot = Multiply(w[first], SetDword(Load32(x + 4 * first)));
      Unroll<kTogether - 1>([&](auto k) INKSTONE_INLINE {
        dot = _mm256_add_epi16(dot, Multiply(w[first + k + 1], SetDword(Load32(x + 4 * (first + k + 1)))));
      });
      sum = AddWords(sum, dot, scale);
    });
    return sum;
  }
};

// Block `b` of 32 columns, unpacked in `u`; `scale` of each half.
template <class S, class K>
INKSTONE_INLINE inline __m256i AddBlock(const __m256i (&u)[8], const __m256i (&scale)[2], const StepPiece& x, int64_t b,
                                        __m256i sum) {
  Unroll<2>([&](auto h) INKSTONE_INLINE {
    sum = K::Dot16(u + 4 * h, x.q + 32 * b + 16 * h, K::Stepped(scale[h], x.step[2 * b + h]), sum);
  });
  if (HasRemainders<S>(x, b)) [[unlikely]] {
    Unroll<2>([&](auto h) INKSTONE_INLINE {
      sum = K::Dot16(u + 4 * h, x.r + 32 * b + 16 * h, K::Stepped(scale[h], 0x10001), sum);
    });
  }
  return sum;
}

// Adds a piece of eight rows times a token to eight floats.
template <class S, class K>
requires(!S::kOwnScales) [[gnu::noinline]] void AddPiece(const std::byte* p, int64_t stride, const std::byte* next,
                                                         int64_t, const StepPiece& x, float* sums) {
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
      __m256i u[8], scale[2];
      Unroll<8>([&](auto k) INKSTONE_INLINE { u[k] = w.template Columns<b>(k); });
      Unroll<2>([&](auto h) INKSTONE_INLINE {
        constexpr int group = 2 * b + h;
        scale[h] = w.template Scales < group, K::kSecondWord ? group : -1 > ();
      });
      dot = AddBlock<S, K>(u, scale, x, b, dot);
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
  if constexpr (S::kSums > 0 && S::kShift > 0) dot = _mm256_sub_epi32(dot, _mm256_slli_epi32(total, S::kShift));
  __m256 sum = _mm256_fmadd_ps(factors.low, _mm256_cvtepi32_ps(dot), _mm256_loadu_ps(sums));
  if constexpr (S::kShift == 0) sum = _mm256_fnmadd_ps(factors.high, _mm256_cvtepi32_ps(total), sum);
  _mm256_storeu_ps(sums, sum);
}

// The same for types whose blocks of 32 have a scale of their own; a row's last piece may have fewer than eight.
template <class S, class K>
requires(S::kOwnScales) [[gnu::noinline]] void AddPiece(const std::byte* p, int64_t stride, const std::byte* next,
                                                        int64_t blocks, const StepPiece& x, float* sums) {
  constexpr int kBytes = sizeof(typename S::Block), kLines = (kStepRows * kBytes + 63) / 64;
  constexpr uint32_t kWords = K::kSecondWord ? 0xffffffffu : 0xffffu;
  const __m256i one[2] = {SetDword(0x10001u & kWords), SetDword(0x10001u & kWords)};
  for (int64_t b = 0; b < blocks; ++b) {
    Unroll<kLines>([&](auto line) INKSTONE_INLINE { PrefetchLine(next + b * kStepRows * kBytes + line * 64); });
    S w;
    w.Load(p + b * kBytes, stride);
    __m256i dot;
    if constexpr (kOfWords<S>) {
      dot = _mm256_setzero_si256();
      Unroll<16>([&](auto k)
                     INKSTONE_INLINE { dot = K::AddWords(dot, w.Words(k), SetDword(Load32(x.v + 32 * b + 2 * k))); });
    } else {
      __m256i u[8];
      Unroll<8>([&](auto k) INKSTONE_INLINE { u[k] = w.Columns(k); });
      dot = AddBlock<S, K>(u, one, x, b, SetDword(TakenOff<S>(x, b)));
    }
    _mm256_storeu_ps(sums, _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), w.d, _mm256_loadu_ps(sums)));
  }
}

}  // namespace
}  // namespace inkstone

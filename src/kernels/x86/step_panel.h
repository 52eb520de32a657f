// Products of rows that are unpacked once to a panel, lanes being rows, with several tokens' activations of steps.h:
// the bits of step_single.h. One copy per target, as in unpack.h.
#pragma once

#include "kernels/x86/step_single.h"

namespace inkstone {
namespace {

// A piece of kRows rows.
template <int kRows>
struct alignas(64) StepPanel {
  uint32_t columns[kPieceBlocks][16][kRows];  // four weights each, in half of them, or two of types kOfWords
  uint32_t scale[kPieceGroups][kRows];        // of K-quants, as the target wants them
  uint32_t sums[kPieceBlocks][kRows];         // SumWords of K-quants
  float factor[kPieceBlocks][kRows];          // K-quants: both Factors; else one for each block
};

INKSTONE_INLINE inline void StoreLanes(uint32_t* p, __m256i v) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), v); }

// Eight of the panel's rows, from lane `lane` on.
template <class S, class K, int kRows>
[[gnu::noinline]] void FillPanel(const std::byte* p, int64_t stride, int64_t blocks, int lane, StepPanel<kRows>& w) {
  constexpr int kBytes = sizeof(typename S::Block);
  if constexpr (S::kOwnScales) {
    for (int64_t b = 0; b < blocks; ++b) {
      S s;
      s.Load(p + b * kBytes, stride);
      if constexpr (kOfWords<S>) {
        Unroll<16>([&](auto k) INKSTONE_INLINE { StoreLanes(w.columns[b][k] + lane, s.Words(k)); });
      } else {
        Unroll<8>([&](auto k) INKSTONE_INLINE { StoreLanes(w.columns[b][k] + lane, s.Columns(k)); });
      }
      _mm256_store_ps(w.factor[b] + lane, s.d);
    }
  } else {
    S s;
    s.Load(p, stride);
    Unroll<4>([&](auto pair) INKSTONE_INLINE {
      s.template LoadPair<pair>(p, stride);
      Unroll<2>([&](auto of_pair) INKSTONE_INLINE {
        constexpr int b = 2 * pair + of_pair;
        Unroll<8>([&](auto k) INKSTONE_INLINE { StoreLanes(w.columns[b][k] + lane, s.template Columns<b>(k)); });
      });
    });
    Unroll<K::kScales>([&](auto i) INKSTONE_INLINE {
      StoreLanes(w.scale[i] + lane, s.template Scales<K::LowScale(i), K::HighScale(i)>());
    });
    Unroll<S::kSums>([&](auto i) INKSTONE_INLINE { StoreLanes(w.sums[i] + lane, s.template SumWords<i>()); });
    const HalfPairs factors = s.Factors();
    _mm256_store_ps(w.factor[0] + lane, factors.low);
    _mm256_store_ps(w.factor[1] + lane, factors.high);
  }
}

// Block `b` of a panel times kTokens tokens, added to `sum`.
template <class S, class K, int kTokens, class Int>
INKSTONE_INLINE inline void AddPanelBlock(const StepPanel<K::kRows>& w, int64_t b, const StepPiece* x, int64_t x_stride,
                                          Int (&sum)[kTokens]) {
  if constexpr (kOfWords<S>) {
    return Unroll<16>([&](auto k) INKSTONE_INLINE {
      const Int u = K::Load(w.columns[b][k]);
      Unroll<kTokens>([&](auto t) INKSTONE_INLINE {
        sum[t] = K::AddWords(sum[t], u, K::Set(Load32(x[t * x_stride].v + 32 * b + 2 * k)));
      });
    });
  } else {
    const int8_t* q[kTokens];
    Unroll<kTokens>([&](auto t) INKSTONE_INLINE { q[t] = x[t * x_stride].q + 32 * b; });
    K::template AddProducts<S::kOwnScales, true>(w, b, q, x, x_stride, sum);
    Unroll<kTokens>([&](auto t) INKSTONE_INLINE {
      if (HasRemainders<S>(x[t * x_stride], b)) [[unlikely]] {
        const int8_t* r[1] = {x[t * x_stride].r + 32 * b};
        Int one[1] = {sum[t]};
        K::template AddProducts<S::kOwnScales, false>(w, b, r, x, x_stride, one);
        sum[t] = one[0];
      }
    });
  }
}

// Lines that are to come, asked for evenly while a panel is multiplied.
struct LinesAhead {
  const std::byte* next;
  int64_t for_block;  // in one block of 32 columns and kTogether tokens
};
INKSTONE_INLINE inline void AskForLines(const LinesAhead& ahead, int64_t b) {
  for (int64_t i = 0; i < ahead.for_block; ++i) PrefetchLine(ahead.next + (b * ahead.for_block + i) * 64);
}

// A panel times kTokens tokens, `x_stride` pieces apart, added to (kTokens, kRows) floats.
template <class S, class K, int kTokens>
[[gnu::noinline]] void PanelTimesTokens(const StepPanel<K::kRows>& w, int64_t blocks, const StepPiece* x,
                                        int64_t x_stride, LinesAhead ahead, float* sums) {
  using Int = typename K::Int;
  using V = typename K::V;
  typename V::F sum[kTokens];
  const auto for_tokens = [](auto&& body) INKSTONE_INLINE { Unroll<kTokens>(body); };
  for_tokens([&](auto t) INKSTONE_INLINE { sum[t] = V::Load(sums + t * K::kRows); });
  Int dot[kTokens];
  if constexpr (S::kOwnScales) {
    for (int64_t b = 0; b < blocks; ++b) {
      AskForLines(ahead, b);
      for_tokens([&](auto t) INKSTONE_INLINE { dot[t] = K::Set(TakenOff<S>(x[t * x_stride], b)); });
      AddPanelBlock<S, K>(w, b, x, x_stride, dot);
      const typename V::F factor = V::Load(w.factor[b]);
      for_tokens([&](auto t) INKSTONE_INLINE { sum[t] = V::MulAdd(K::ToFloat(dot[t]), factor, sum[t]); });
    }
  } else {
    Int high[kTokens], low[kTokens];
    for_tokens([&](auto t) INKSTONE_INLINE { dot[t] = K::Set(0); });
    for (int64_t b = 0; b < kPieceBlocks; ++b) {
      AskForLines(ahead, b);
      AddPanelBlock<S, K>(w, b, x, x_stride, dot);
    }
    for_tokens([&](auto t) INKSTONE_INLINE { high[t] = low[t] = K::Set(0); });
    Unroll<S::kSums>([&](auto i) INKSTONE_INLINE {
      const Int words = K::Load(w.sums[i]);
      for_tokens([&](auto t) INKSTONE_INLINE {
        high[t] = K::AddWords(high[t], words, K::Set(HighSums<S>(x[t * x_stride])[i]));
        low[t] = K::AddWords(low[t], words, K::Set(LowSums<S>(x[t * x_stride])[i]));
      });
    });
    const typename V::F factor = V::Load(w.factor[0]), of_totals = V::Load(w.factor[1]);
    for_tokens([&](auto t) INKSTONE_INLINE {
      const Int total = K::Add(K::template ShiftLeft<8>(high[t]), low[t]);
      if constexpr (S::kSums > 0 && S::kShift > 0) dot[t] = K::Sub(dot[t], K::template ShiftLeft<S::kShift>(total));
      sum[t] = V::MulAdd(factor, K::ToFloat(dot[t]), sum[t]);
      if constexpr (S::kShift == 0) sum[t] = V::NegMulAdd(of_totals, K::ToFloat(total), sum[t]);
    });
  }
  for_tokens([&](auto t) INKSTONE_INLINE { V::Store(sums + t * K::kRows, sum[t]); });
}

// Rows at `at` times `tokens` tokens, added to (tokens, kRows) floats. `next`: bytes that come after them.
template <class S, class K>
inline void AddPanel(const std::byte* at, int64_t stride, const std::byte* next, int64_t blocks, const StepPiece* x,
                     int64_t x_stride, int64_t tokens, StepPanel<K::kRows>& w, float* sums) {
  for (int lane = 0; lane < K::kRows; lane += kStepRows) FillPanel<S, K>(at + lane * stride, stride, blocks, lane, w);
  constexpr int64_t kBytes = sizeof(typename S::Block);
  const int64_t lines = (K::kRows * kBytes * (S::kOwnScales ? blocks : 1) + 63) / 64;
  const int64_t steps = (tokens + K::kTogether - 1) / K::kTogether * blocks;
  const int64_t for_block = (lines + steps - 1) / steps;
  ForTokens<K::kTogether>(tokens, [&](auto together, int64_t t) {
    const int64_t asked = t / K::kTogether * blocks * for_block;
    const LinesAhead ahead{next + asked * 64, asked < lines ? for_block : 0};
    PanelTimesTokens<S, K, together>(w, blocks, x + t * x_stride, x_stride, ahead, sums + t * K::kRows);
  });
}

}  // namespace
}  // namespace inkstone

// Products with block-quantized weights for many tokens, in both phases: as many rows as a register has lanes are
// unpacked together and transposed, so that lanes are rows and one load of weights serves several tokens.
// One copy per target, as in unpack.h.
#pragma once

#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/row_product.h"
#include "kernels/x86/unpack.h"

namespace inkstone {
namespace {

// Sums of one (row, token): the prompt phase takes all groups in order; the decode phase as row_product.h says.
template <class U, Phase kPhase>
inline constexpr int kSums = kPhase == Phase::kPrompt ? 1 : kPiece / U::kGroup;
// Tokens that the scratch memory has room for.
template <Phase kPhase>
inline constexpr int64_t kPanelTokens = kPhase == Phase::kPrompt ? kTokenChunk : kTokenChunk / kPieceGroups;
// Rows that pass over a prompt's activations together: a piece of them (320 KB for 512 tokens) stays in L2 meanwhile,
// and the sums of so many rows (512 KB) come back to it piece by piece.
inline constexpr int64_t kPanelBlock = 256;

// One piece of kRows rows, transposed: q[2k][r] holds weights 4k and 4k+2 of row r, q[2k+1][r] weights 4k+1 and 4k+3,
// as they mean (without a bias).
template <int kRows>
struct alignas(64) Panel {
  int16_t q[kPiece / 2][kRows][2];
  float scale[kPieceGroups][kRows];  // kPiece / kGroup used
  float min[kPieceGroups][kRows];    // kHasMin
};

// What of a type matters once its weights are unpacked; fewer kinds than types, so each is compiled once.
template <int kGroupOf, bool kHasMinOf>
struct Grouping {
  static constexpr int kGroup = kGroupOf;
  static constexpr bool kHasMin = kHasMinOf;
};

// One piece of several tokens.
template <Phase kPhase>
struct TokenPieces {
  const QuantizedPiece* first;
  int64_t stride;  // in pieces
  const QuantizedPiece& operator[](int t) const { return first[kPhase == Phase::kPrompt ? t : t * stride]; }
};

// K, the target's part: V, its vector of floats (vec.h), with kLanes lanes; I, the same register of integers; kRun, of
// QuantizedPiece; kPanels; kTokens, tokens that share a load of weights. Of I: Zero, Load, Store, Set (all dwords the
// same), Bits (of floats), ToFloat, MultiplyAdd(sum, a, b), which adds the products of both words in every dword;
// ToWords<U>, bytes of weights to {even, odd}; WithoutBias<U>, of words.
template <class K>
inline constexpr int64_t kPanelRows = K::kPanels* K::kLanes;

template <class K>
struct alignas(64) PanelScratch {
  Panel<K::kLanes> panel[K::kPanels];
  float sums[kPanelBlock / kPanelRows<K>][kTokenChunk * kPanelRows<K>];
  int8_t rows[K::kLanes][kPiece];
  float scale[K::kLanes][kPieceGroups];
  float min[K::kLanes][kPieceGroups];
};

// Loads kLanes dwords of each of kLanes rows that lie `stride` bytes apart: register k has dword k of every row.
template <class K>
inline void LoadTransposed(const void* in, int64_t stride, typename K::V::F (&v)[K::kLanes]) {
  const auto* row = static_cast<const std::byte*>(in);
  for (int i = 0; i < K::kLanes; ++i) v[i] = K::V::Load(reinterpret_cast<const float*>(row + i * stride));
  K::V::Transpose(v);
}
template <class K>
inline void TransposeFloats(const float* in, int64_t stride, float (*columns)[K::kLanes]) {
  typename K::V::F v[K::kLanes];
  LoadTransposed<K>(in, stride, v);
  for (int i = 0; i < K::kLanes; ++i) K::V::Store(columns[i], v[i]);
}
// Four weights in each dword, to twice as many columns of words.
template <class U, class K>
inline void TransposeWeights(const int8_t* in, int64_t stride, int16_t (*columns)[K::kLanes][2]) {
  typename K::V::F v[K::kLanes];
  LoadTransposed<K>(in, stride, v);
  for (int i = 0; i < K::kLanes; ++i) {
    const auto words = K::template ToWords<U>(K::Bits(v[i]));
    K::Store(columns[2 * i], K::template WithoutBias<U>(words.even));
    K::Store(columns[2 * i + 1], K::template WithoutBias<U>(words.odd));
  }
}

// Piece p of row i of a panel to plain memory.
template <class U, class K>
inline void UnpackRow(const std::byte* row, int64_t p, int64_t cols, int i, PanelScratch<K>& s) {
  Piece w;
  UnpackPiece<U>(row, p, cols, w);
  for (int b = 0; b < kPieceBlocks; ++b) StoreAligned(s.rows[i] + 32 * b, w.q[b]);
  for (int h = 0; h < 32 / U::kGroup; ++h) {
    _mm256_store_ps(s.scale[i] + 8 * h, w.scale[h]);
    if constexpr (U::kHasMin) _mm256_store_ps(s.min[i] + 8 * h, w.min[h]);
  }
}

// Fills a panel with piece p of rows [row, row + kLanes); those from row_end on repeat the last. `next` is what memory
// is read next after these rows, in the order of the file; every row's turn touches as much of it as it takes itself.
template <class U, class K>
inline void UnpackPanel(const MatMulOp& op, int64_t row, int64_t row_end, int64_t p, const std::byte* next,
                        PanelScratch<K>& s, Panel<K::kLanes>& panel) {
  for (int i = 0; i < K::kLanes; ++i) {
    PrefetchAhead<kPieceBytes<U>>(next + (p * kPanelRows<K> + i) * kPieceBytes<U>);
    UnpackRow<U, K>(op.w.data + Smaller(row + i, row_end - 1) * RowBytesOf<U>(op.w.cols), p, op.w.cols, i, s);
  }
  for (int k = 0; k < kPiece / 4; k += K::kLanes) {
    TransposeWeights<U, K>(s.rows[0] + 4 * k, kPiece, panel.q + 2 * k);
  }
  for (int g = 0; g < kPiece / U::kGroup; g += K::kLanes) {
    TransposeFloats<K>(s.scale[0] + g, sizeof(s.scale[0]), panel.scale + g);
    if constexpr (U::kHasMin) TransposeFloats<K>(s.min[0] + g, sizeof(s.min[0]), panel.min + g);
  }
}

// Floats between the sums that one (row, token) has.
template <class K, Phase kPhase>
inline constexpr int64_t kSumStride = kPanelTokens<kPhase>* kPanelRows<K>;

// Panels that share a load of activations; with kTokens tokens their sums fill the registers.
inline constexpr int kTogether = 2;

// The integer sums of group g of kTogether panels times some tokens.
template <class G, class K, Phase kPhase, int T>
inline void DotGroup(const Panel<K::kLanes>* panel, const TokenPieces<kPhase>& x, int g,
                     typename K::I (&dot)[kTogether][T]) {
  constexpr int kDwords = G::kGroup / 2;
  const int first = EvenPlace<K::kRun>(g * G::kGroup);
  Unroll<T>([&](auto t) { Unroll<kTogether>([&](auto p) { dot[p][t] = K::Zero(); }); });
  Unroll<kDwords>([&](auto k) {
    const int place = first + k / 2 * 2 + k % 2 * (K::kRun / 2);
    typename K::I w[kTogether];
    Unroll<kTogether>([&](auto p) { w[p] = K::Load(panel[p].q[g * kDwords + k]); });
    Unroll<T>([&](auto t) {
      const typename K::I pair = K::Set(static_cast<int>(Load32(x[t].q + place)));
      Unroll<kTogether>([&](auto p) { dot[p][t] = K::MultiplyAdd(dot[p][t], w[p], pair); });
    });
  });
}

// Adds one piece of kTogether panels times T tokens to their sums.
template <class G, class K, Phase kPhase, int T>
[[gnu::flatten, gnu::noinline]] void MultiplyPanels(const Panel<K::kLanes>* panel, const TokenPieces<kPhase>& x,
                                                    float* sums) {
  using V = typename K::V;
  for (int g = 0; g < kPiece / G::kGroup; ++g) {
    typename K::I dot[kTogether][T];
    DotGroup<G, K, kPhase, T>(panel, x, g, dot);
    float* group_sums = sums + g % kSums<G, kPhase> * kSumStride<K, kPhase>;
    Unroll<T>([&](auto t) {
      Unroll<kTogether>([&](auto p) {
        float* place = group_sums + t * kPanelRows<K> + p * K::kLanes;
        auto sum = V::MulAdd(K::ToFloat(dot[p][t]), V::Load(panel[p].scale[g]), V::Load(place));
        if constexpr (G::kHasMin) {
          sum = V::NegMulAdd(V::Load(panel[p].min[g]), V::Set(GroupTotals<G::kGroup>(x[t])[g]), sum);
        }
        V::Store(place, sum);
      });
    });
  }
}

// Adds piece p of kPanelRows rows from `row` on times tokens [first, first + tokens) to their sums.
template <class U, class K, Phase kPhase>
inline void AddPiece(const MatMulOp& op, int64_t row, int64_t row_end, int64_t p, int64_t first, int64_t tokens,
                     float* sums, PanelScratch<K>& s) {
  const int64_t pieces = PieceCount(op.w.cols);
  const int64_t stride = PieceIndex(kPhase, 0, 1, pieces, op.tokens);
  const auto* x = static_cast<const QuantizedPiece*>(op.activations) + PieceIndex(kPhase, p, first, pieces, op.tokens);
  const std::byte* next = op.w.data + (row + kPanelRows<K>)*RowBytesOf<U>(op.w.cols);
  for (int i = 0; i < K::kPanels; ++i) {
    UnpackPanel<U, K>(op, row + i * K::kLanes, row_end, p, next + i * K::kLanes * kPieceBytes<U>, s, s.panel[i]);
  }
  ForTokens<K::kTokens>(tokens, [&](auto count, int64_t t) {
    for (int i = 0; i < K::kPanels; i += kTogether) {
      MultiplyPanels<Grouping<U::kGroup, U::kHasMin>, K, kPhase, count>(s.panel + i, {x + t * stride, stride},
                                                                        sums + t * kPanelRows<K> + i * K::kLanes);
    }
  });
}

// Rows [row, row_end), at most kPanelBlock (kPanelRows in the decode phase).
template <class U, class K, Phase kPhase>
inline void PanelsTimesChunk(const MatMulOp& op, int64_t row, int64_t row_end, int64_t first, int64_t tokens,
                             PanelScratch<K>& s) {
  constexpr int64_t kStride = kSumStride<K, kPhase>;
  const auto for_panels = [&](auto&& body) {
    for (int64_t r = row; r < row_end; r += kPanelRows<K>) body(r, s.sums[(r - row) / kPanelRows<K>]);
  };
  for_panels([&](int64_t, float* sums) {
    for (int i = 0; i < kSums<U, kPhase>; ++i) {
      memset(sums + i * kStride, 0, static_cast<size_t>(tokens * kPanelRows<K>) * sizeof(float));
    }
  });
  for (int64_t p = 0; p < PieceCount(op.w.cols); ++p) {
    for_panels([&](int64_t r, float* sums) { AddPiece<U, K, kPhase>(op, r, row_end, p, first, tokens, sums, s); });
  }
  const int64_t pieces = PieceCount(op.w.cols);
  const auto* x = static_cast<const QuantizedPiece*>(op.activations);
  for_panels([&](int64_t r, float* sums) {
    ReduceSums<kSums<U, kPhase>, kStride>(sums, tokens * kPanelRows<K>);
    for (int64_t t = 0; t < tokens; ++t) {
      const float scale = x[PieceIndex(kPhase, 0, first + t, pieces, op.tokens)].scale;
      for (int64_t i = 0; i < kPanelRows<K>; ++i) sums[t * kPanelRows<K> + i] *= scale;
    }
    WritePanel<kPanelRows<K>>(op, r, Smaller<int64_t>(kPanelRows<K>, row_end - r), first, tokens, sums);
  });
}

template <class U, class K, Phase kPhase>
inline void PanelProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, PanelScratch<K>& s) {
  constexpr int64_t kBlock = kPhase == Phase::kPrompt ? kPanelBlock : kPanelRows<K>;
  memset(s.scale, 0, sizeof(s.scale));
  memset(s.min, 0, sizeof(s.min));
  for (int64_t row = row_begin; row < row_end; row += kBlock) {
    for (int64_t first = 0; first < op.tokens; first += kPanelTokens<kPhase>) {
      PanelsTimesChunk<U, K, kPhase>(op, row, Smaller(row_end, row + kBlock), first,
                                     Smaller(kPanelTokens<kPhase>, op.tokens - first), s);
    }
  }
}

// Rows [row_begin, row_end) of a product with a quantized type, in every phase and for any number of tokens.
template <class U, class RowKernel, class PanelKernel>
inline void QuantProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, PanelScratch<PanelKernel>& s) {
  if (op.phase == Phase::kPrompt) {
    PanelProduct<U, PanelKernel, Phase::kPrompt>(op, row_begin, row_end, s);
  } else if (op.tokens > kRowTokens) {
    PanelProduct<U, PanelKernel, Phase::kDecode>(op, row_begin, row_end, s);
  } else {
    RowProduct<U, RowKernel>(op, row_begin, row_end);
  }
}

}  // namespace
}  // namespace inkstone

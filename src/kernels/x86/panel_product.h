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

// K, the target's part: kLanes; kRun, of QuantizedPiece; kPanels; kTokens, tokens that share a load of weights;
// Transpose(in, stride, out), kLanes dwords of each of kLanes rows that lie `stride` bytes apart, to as many columns;
// TransposeWeights<U>, the same with four weights in each dword, to twice as many columns of words; Multiply<Grouping,
// kPhase, T>, adds one piece of all panels times the TokenPieces of T tokens to sums (kSums, kPanelTokens, kPanelRows).
template <class K>
struct alignas(64) PanelScratch {
  Panel<K::kLanes> panel[K::kPanels];
  float sums[kPanelBlock / K::kPanelRows][kTokenChunk * K::kPanelRows];
  int8_t rows[K::kLanes][kPiece];
  float scale[K::kLanes][kPieceGroups];
  float min[K::kLanes][kPieceGroups];
};

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
    PrefetchAhead<kPieceBytes<U>>(next + (p * K::kPanelRows + i) * kPieceBytes<U>);
    UnpackRow<U, K>(op.w.data + Smaller(row + i, row_end - 1) * RowBytesOf<U>(op.w.cols), p, op.w.cols, i, s);
  }
  for (int k = 0; k < kPiece / 4; k += K::kLanes)
    K::template TransposeWeights<U>(s.rows[0] + 4 * k, kPiece, panel.q[2 * k]);
  for (int g = 0; g < kPiece / U::kGroup; g += K::kLanes) {
    K::Transpose(s.scale[0] + g, sizeof(s.scale[0]), panel.scale[g]);
    if constexpr (U::kHasMin) K::Transpose(s.min[0] + g, sizeof(s.min[0]), panel.min[g]);
  }
}

// Floats between the sums that one (row, token) has.
template <class K, Phase kPhase>
inline constexpr int64_t kSumStride = kPanelTokens<kPhase>* K::kPanelRows;

// Adds piece p of kPanelRows rows from `row` on times tokens [first, first + tokens) to their sums.
template <class U, class K, Phase kPhase>
inline void AddPiece(const MatMulOp& op, int64_t row, int64_t row_end, int64_t p, int64_t first, int64_t tokens,
                     float* sums, PanelScratch<K>& s) {
  const int64_t pieces = PieceCount(op.w.cols);
  const int64_t stride = PieceIndex(kPhase, 0, 1, pieces, op.tokens);
  const auto* x = static_cast<const QuantizedPiece*>(op.activations) + PieceIndex(kPhase, p, first, pieces, op.tokens);
  const std::byte* next = op.w.data + (row + K::kPanelRows) * RowBytesOf<U>(op.w.cols);
  for (int i = 0; i < K::kPanels; ++i) {
    UnpackPanel<U, K>(op, row + i * K::kLanes, row_end, p, next + i * K::kLanes * kPieceBytes<U>, s, s.panel[i]);
  }
  ForTokens<K::kTokens>(tokens, [&](auto count, int64_t t) {
    K::template Multiply<Grouping<U::kGroup, U::kHasMin>, kPhase, count>(
        s.panel, TokenPieces<kPhase>{x + t * stride, stride}, sums + t * K::kPanelRows);
  });
}

// Rows [row, row_end), at most kPanelBlock (kPanelRows in the decode phase).
template <class U, class K, Phase kPhase>
inline void PanelsTimesChunk(const MatMulOp& op, int64_t row, int64_t row_end, int64_t first, int64_t tokens,
                             PanelScratch<K>& s) {
  constexpr int64_t kStride = kSumStride<K, kPhase>;
  const auto for_panels = [&](auto&& body) {
    for (int64_t r = row; r < row_end; r += K::kPanelRows) body(r, s.sums[(r - row) / K::kPanelRows]);
  };
  for_panels([&](int64_t, float* sums) {
    for (int i = 0; i < kSums<U, kPhase>; ++i) {
      memset(sums + i * kStride, 0, static_cast<size_t>(tokens * K::kPanelRows) * sizeof(float));
    }
  });
  for (int64_t p = 0; p < PieceCount(op.w.cols); ++p) {
    for_panels([&](int64_t r, float* sums) { AddPiece<U, K, kPhase>(op, r, row_end, p, first, tokens, sums, s); });
  }
  const int64_t pieces = PieceCount(op.w.cols);
  const auto* x = static_cast<const QuantizedPiece*>(op.activations);
  for_panels([&](int64_t r, float* sums) {
    ReduceSums<kSums<U, kPhase>, kStride>(sums, tokens * K::kPanelRows);
    for (int64_t t = 0; t < tokens; ++t) {
      const float scale = x[PieceIndex(kPhase, 0, first + t, pieces, op.tokens)].scale;
      for (int64_t i = 0; i < K::kPanelRows; ++i) sums[t * K::kPanelRows + i] *= scale;
    }
    WritePanel<K::kPanelRows>(op, r, Smaller<int64_t>(K::kPanelRows, row_end - r), first, tokens, sums);
  });
}

template <class U, class K, Phase kPhase>
inline void PanelProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, PanelScratch<K>& s) {
  constexpr int64_t kBlock = kPhase == Phase::kPrompt ? kPanelBlock : K::kPanelRows;
  memset(s.scale, 0, sizeof(s.scale));
  memset(s.min, 0, sizeof(s.min));
  for (int64_t row = row_begin; row < row_end; row += kBlock) {
    for (int64_t first = 0; first < op.tokens; first += kPanelTokens<kPhase>) {
      PanelsTimesChunk<U, K, kPhase>(op, row, Smaller(row_end, row + kBlock), first,
                                     Smaller(kPanelTokens<kPhase>, op.tokens - first), s);
    }
  }
}

}  // namespace
}  // namespace inkstone

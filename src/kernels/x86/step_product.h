// Products with activations of steps.h. One copy per target, as in unpack.h.
//
// Order of sums, in both phases: each piece of 256 columns gives exact integers for the scales and for the mins, where
// the type has integer scales, else each 32 columns give one; they are added in order, in f32, and the sum is
// multiplied with the token's scale. So bits do not depend on the way taken: one token takes rows as they come
// (step_single.h), several share unpacked panels (step_panel.h).
#pragma once

#include "kernels/x86/step_panel.h"
#include "kernels/x86/step_single.h"

namespace inkstone {
namespace {

// Rows that pass over a prompt's activations together, as kPanelBlock of panel_product.h.
inline constexpr int64_t kStepBlock = 256;

template <int kRows>
struct alignas(64) StepScratch {
  StepPanel<kRows> panel;
  float sums[kStepBlock * kTokenChunk];
};

// A product's rows [row, row_end) times tokens [first, first + tokens).
struct StepRange {
  int64_t row;
  int64_t row_end;
  int64_t first;
  int64_t tokens;
};

// kRows at a time; fewer are taken one by one, each in all lanes.
template <class S, int kRows, class AddRows>
inline void StepBlockTimesChunk(const MatMulOp& op, const StepRange& range, float* sums, const AddRows& add) {
  constexpr int64_t kBytes = sizeof(typename S::Block) * (S::kOwnScales ? kPieceBlocks : 1);
  const int64_t pieces = PieceCount(op.w.cols), row_bytes = op.w.row_bytes();
  const int64_t x_stride = PieceIndex(op.phase, 0, 1, pieces, op.tokens);
  const auto* activations = static_cast<const StepPiece*>(op.activations);
  const int64_t rows = range.row_end - range.row < kRows ? 1 : kRows, size = range.tokens * kRows;
  const auto for_rows = [&](auto&& body) {
    for (int64_t r = range.row, i = 0; r < range.row_end; r += rows, ++i) body(r, sums + i * size);
  };
  for_rows([&](int64_t, float* sum) { memset(sum, 0, static_cast<size_t>(size) * sizeof(float)); });
  for (int64_t p = 0; p < pieces; ++p) {
    const StepPiece* x = activations + PieceIndex(op.phase, p, range.first, pieces, op.tokens);
    const int64_t blocks = Smaller<int64_t>(kPieceBlocks, op.w.cols / 32 - p * kPieceBlocks);
    for_rows([&](int64_t r, float* sum) {
      const std::byte* next = op.w.data + (r + kRows) * row_bytes + p * kRows * kBytes;
      add(op.w.data + r * row_bytes + p * kBytes, rows == 1 ? 0 : row_bytes, next, blocks, x, x_stride, sum);
    });
  }
  for_rows([&](int64_t r, const float* sum) {
    for (int64_t t = 0; t < range.tokens; ++t) {
      const float scale = activations[PieceIndex(op.phase, 0, range.first + t, pieces, op.tokens)].scale;
      for (int64_t k = 0; k < rows; ++k) WriteOutput(op, r + k, range.first + t, sum[t * kRows + k] * scale);
    }
  });
}

template <class S, int kRows, class AddRows>
inline void ForStepBlocks(const MatMulOp& op, int64_t row_begin, int64_t row_end, int64_t block, float* sums,
                          const AddRows& add) {
  for (int64_t row = row_begin; row < row_end;) {
    int64_t end = Smaller(row_end, row + block);
    if (end - row > kRows) end -= (end - row) % kRows;
    for (int64_t first = 0; first < op.tokens; first += kTokenChunk) {
      const StepRange range{row, end, first, Smaller(kTokenChunk, op.tokens - first)};
      StepBlockTimesChunk<S, kRows>(
          op, range, sums,
          [&](const std::byte* at, int64_t stride, const std::byte* next, int64_t blocks, const StepPiece* x,
              int64_t x_stride, float* sum) { add(at, stride, next, blocks, x, x_stride, range.tokens, sum); });
    }
    row = end;
  }
}

// Single: ByteProducts or the like of it; Lanes: what PanelTimesTokens needs.
template <class S, class Single, class Lanes>
inline void StepProductOf(const MatMulOp& op, int64_t row_begin, int64_t row_end, StepScratch<Lanes::kRows>& s) {
  if (op.tokens == 1) {
    return ForStepBlocks<S, kStepRows>(
        op, row_begin, row_end, kStepRows, s.sums,
        [](const std::byte* at, int64_t stride, const std::byte* next, int64_t blocks, const StepPiece* x, int64_t,
           int64_t, float* sum) { AddPiece<S, Single>(at, stride, next, blocks, *x, sum); });
  }
  const int64_t block = op.phase == Phase::kPrompt ? kStepBlock : Lanes::kRows;
  ForStepBlocks<S, Lanes::kRows>(op, row_begin, row_end, block, s.sums,
                                 [&s](const std::byte* at, int64_t stride, const std::byte* next, int64_t blocks,
                                      const StepPiece* x, int64_t x_stride, int64_t tokens, float* sum) {
                                   AddPanel<S, Lanes>(at, stride, next, blocks, x, x_stride, tokens, s.panel, sum);
                                 });
}

// Single<bits> and Lanes<bits>, the target's part; kUnsigned, whether they take weights of eight bits with 128 added.
template <template <int> class Single, template <int> class Lanes, bool kUnsigned>
inline void StepProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, StepScratch<Lanes<4>::kRows>& s) {
  const auto product = [&]<class S>(S*) {
    StepProductOf<S, Single<S::kBits>, Lanes<S::kBits>>(op, row_begin, row_end, s);
  };
  switch (op.w.dtype) {
    case DType::kQ4_0:
      return product(static_cast<StepsQ4_0*>(nullptr));
    case DType::kQ4_K:
      return product(static_cast<StepsQ4_K*>(nullptr));
    case DType::kQ5_K:
      return product(static_cast<StepsQ5_K*>(nullptr));
    case DType::kQ6_K:
      return product(static_cast<StepsQ6_K*>(nullptr));
    case DType::kIQ4_NL:
      return product(static_cast<StepsIQ4_NL<kUnsigned>*>(nullptr));
    case DType::kIQ4_XS:
      return product(static_cast<StepsIQ4_XS<kUnsigned>*>(nullptr));
    case DType::kQ8_0:
      return product(static_cast<StepsQ8_0*>(nullptr));
    default:
      return;
  }
}

}  // namespace
}  // namespace inkstone

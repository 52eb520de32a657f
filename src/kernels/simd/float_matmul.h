// Products with float weights, f32 activations and f32 sums. V and E as in elements.h.
// Activations are f32, the columns padded with zeros to whole pieces. Decode: (tokens, padded columns). Prompt:
// (pieces, tokens, kFloatPiece), so that a piece of the weights streams over its tokens.
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd/elements.h"
#include "kernels/simd/matmul_common.h"

namespace inkstone {
namespace {

inline constexpr int64_t kFloatPiece = 64;  // columns handled at a time

template <class V>
struct FloatPanels {
  static constexpr int kRows = V::kLanes * 2;  // rows unpacked together in the prompt phase
  static constexpr int kPanels = 2;
  alignas(64) float w[kPanels][kFloatPiece][V::kLanes];  // transposed: one column of V::kLanes rows per vector
  alignas(64) float sums[kTokenChunk][kRows];
};

// Four running vectors of one (row, token), vector i of the row goes to sum i % 4.
template <class V>
struct FloatSum {
  typename V::F part[4] = {V::Zero(), V::Zero(), V::Zero(), V::Zero()};
  float Total() const { return V::Sum(V::Add(V::Add(part[0], part[1]), V::Add(part[2], part[3]))); }
};

// One row times one token, straight from the file's layout.
template <class V, class E>
inline float DotRow(const std::byte* row, const float* x, int64_t cols) {
  FloatSum<V> sum;
  int64_t c = 0;
  for (; c + 4 * V::kLanes <= cols; c += 4 * V::kLanes) {
    const std::byte* p = row + c * E::kBytes;
    for (int i = 0; i < 4 * V::kLanes * E::kBytes; i += 64) __builtin_prefetch(p + 4096 + i);
    Unroll<4>([&](auto i) {
      sum.part[i] =
          V::MulAdd(E::template Load<V>(p + i * V::kLanes * E::kBytes), V::Load(x + c + i * V::kLanes), sum.part[i]);
    });
  }
  Unroll<4>([&](auto i) {
    const int64_t at = c + i * V::kLanes;
    if (at >= cols) return;
    sum.part[i] = V::MulAdd(LoadElements<V, E>(row + at * E::kBytes, cols - at), V::Load(x + at), sum.part[i]);
  });
  return sum.Total();
}

// T tokens times one row decoded to f32 and padded; each sums in DotRow's order.
template <class V, int T>
inline void DotDecoded(const float* w, const float* x, int64_t x_stride, int64_t cols, float (&out)[T]) {
  FloatSum<V> sum[T];
  int64_t c = 0;
  for (; c + 4 * V::kLanes <= cols; c += 4 * V::kLanes) {
    Unroll<4>([&](auto i) {
      const typename V::F v = V::Load(w + c + i * V::kLanes);
      Unroll<T>([&](auto t) {
        sum[t].part[i] = V::MulAdd(v, V::Load(x + t * x_stride + c + i * V::kLanes), sum[t].part[i]);
      });
    });
  }
  Unroll<4>([&](auto i) {
    const int64_t at = c + i * V::kLanes;
    if (at >= cols) return;
    Unroll<T>(
        [&](auto t) { sum[t].part[i] = V::MulAdd(V::Load(w + at), V::Load(x + t * x_stride + at), sum[t].part[i]); });
  });
  for (int t = 0; t < T; ++t) out[t] = sum[t].Total();
}

template <class V, class E>
void FloatDecodeProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, int64_t x_stride, float* decoded) {
  const auto* x = static_cast<const float*>(op.activations);
  for (int64_t r = row_begin; r < row_end; ++r) {
    const std::byte* row = op.w.data + r * op.w.cols * E::kBytes;
    if (op.tokens == 1) {
      WriteOutput(op, r, 0, DotRow<V, E>(row, x, op.w.cols));
      continue;
    }
    for (int64_t c = 0; c < op.w.cols; c += V::kLanes) {
      __builtin_prefetch(row + c * E::kBytes + 4096);
      V::Store(decoded + c, LoadElements<V, E>(row + c * E::kBytes, op.w.cols - c));
    }
    ForTokens<2>(op.tokens, [&](auto count, int64_t t) {
      float out[count];
      DotDecoded<V, count>(decoded, x + t * x_stride, x_stride, op.w.cols, out);
      for (int i = 0; i < count; ++i) WriteOutput(op, r, t + i, out[i]);
    });
  }
}

// Transposes columns [col, col + kFloatPiece) of V::kLanes rows from `row` on; what is missing reads as zero.
template <class V, class E>
inline void UnpackFloatPanel(const MatMulOp& op, int64_t row, int64_t row_end, int64_t col,
                             float (&out)[kFloatPiece][V::kLanes]) {
  for (int64_t c = 0; c < kFloatPiece; c += V::kLanes) {
    typename V::F v[V::kLanes];
    for (int i = 0; i < V::kLanes; ++i) {
      const std::byte* src = op.w.data + ((row + i) * op.w.cols + col + c) * E::kBytes;
      v[i] = row + i < row_end ? LoadElements<V, E>(src, op.w.cols - col - c) : V::Zero();
    }
    V::Transpose(v);
    for (int i = 0; i < V::kLanes; ++i) V::Store(out[c + i], v[i]);
  }
}

// Adds one piece of columns of all panels times T tokens to `sums`, one column after another.
template <class V, int T>
inline void FloatPanelsTimesTokens(const FloatPanels<V>& s, const float* x, float* sums) {
  using F = typename V::F;
  constexpr int kPanels = FloatPanels<V>::kPanels, kRows = FloatPanels<V>::kRows;
  F acc[kPanels][T];
  Unroll<kPanels>([&](auto p) { Unroll<T>([&](auto t) { acc[p][t] = V::Load(sums + t * kRows + p * V::kLanes); }); });
  for (int64_t c = 0; c < kFloatPiece; ++c) {
    F w[kPanels];
    Unroll<kPanels>([&](auto p) { w[p] = V::Load(s.w[p][c]); });
    Unroll<T>([&](auto t) {
      const F v = V::Set(x[t * kFloatPiece + c]);
      Unroll<kPanels>([&](auto p) { acc[p][t] = V::MulAdd(w[p], v, acc[p][t]); });
    });
  }
  Unroll<kPanels>([&](auto p) { Unroll<T>([&](auto t) { V::Store(sums + t * kRows + p * V::kLanes, acc[p][t]); }); });
}

template <class V, class E>
void FloatPromptProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, FloatPanels<V>& s) {
  constexpr int kRows = FloatPanels<V>::kRows;
  for (int64_t row = row_begin; row < row_end; row += kRows) {
    for (int64_t first = 0; first < op.tokens; first += kTokenChunk) {
      const int64_t tokens = Smaller(kTokenChunk, op.tokens - first);
      memset(s.sums, 0, static_cast<size_t>(tokens) * sizeof(s.sums[0]));
      for (int64_t col = 0; col < op.w.cols; col += kFloatPiece) {
        for (int p = 0; p < FloatPanels<V>::kPanels; ++p) {
          UnpackFloatPanel<V, E>(op, row + p * V::kLanes, row_end, col, s.w[p]);
        }
        const float* x = static_cast<const float*>(op.activations) + col * op.tokens + first * kFloatPiece;
        ForTokens<V::kLanes / 2>(tokens, [&](auto count, int64_t t) {
          FloatPanelsTimesTokens<V, count>(s, x + t * kFloatPiece, s.sums[t]);
        });
      }
      WritePanel<kRows>(op, row, Smaller<int64_t>(kRows, row_end - row), first, tokens, s.sums[0]);
    }
  }
}

template <class V>
inline size_t FloatScratch(Phase phase, int64_t padded_cols) {
  return phase == Phase::kPrompt ? sizeof(FloatPanels<V>) : static_cast<size_t>(padded_cols) * sizeof(float);
}

template <class V, class E>
inline void FloatProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, int64_t x_stride, void* scratch) {
  if (op.phase == Phase::kPrompt) {
    FloatPromptProduct<V, E>(op, row_begin, row_end, *static_cast<FloatPanels<V>*>(scratch));
  } else {
    FloatDecodeProduct<V, E>(op, row_begin, row_end, x_stride, static_cast<float*>(scratch));
  }
}

}  // namespace
}  // namespace inkstone

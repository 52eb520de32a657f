// Tiles of sums to the output of a product. One copy per file: internal linkage.
#pragma once

#include "kernels/simd/matmul_common.h"
#include "kernels/x86_amx/tiling.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone {
namespace {

// A C tile, (rows, tokens), to y; bias and accumulation as in WriteOutput.
inline void WriteTile(const MatMulOp& op, int64_t row, int64_t rows, int64_t token, int64_t tokens, const float* c) {
  if (rows <= 0 || tokens <= 0) return;
  __m512 v[kTile];
  for (int i = 0; i < kTile; ++i) v[i] = _mm512_load_ps(c + i * kTile);
  Vec::Transpose(v);
  const auto mask = static_cast<__mmask16>(rows >= kTile ? 0xffff : (1 << rows) - 1);
  const __m512 bias = op.bias != nullptr ? _mm512_maskz_loadu_ps(mask, op.bias + row) : _mm512_setzero_ps();
  for (int t = 0; t < kTile && t < tokens; ++t) {
    float* y = op.y + (token + t) * op.y_stride + row;
    __m512 out = _mm512_add_ps(v[t], bias);
    if (op.accumulate) out = _mm512_add_ps(out, _mm512_maskz_loadu_ps(mask, y));
    _mm512_mask_storeu_ps(y, mask, out);
  }
}

}  // namespace
}  // namespace inkstone

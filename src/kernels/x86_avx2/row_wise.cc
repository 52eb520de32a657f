// Attention and row-wise operations.
#include "kernels/simd/row_wise.h"

#include "kernels/simd/attention.h"
#include "kernels/x86_avx2/avx2.h"
#include "kernels/x86_avx2/vec.h"

namespace inkstone::avx2 {

size_t AttentionScratchBytes(int heads_per_kv, int head_dim, int page_tokens) {
  return AttentionScratch<Vec>(heads_per_kv, head_dim, page_tokens);
}
void Attention(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin, int64_t token_end,
               void* scratch) {
  AttendKv<Vec>(op, kv_head_begin, kv_head_end, token_begin, token_end, scratch);
}
void RmsNorm(const float* x, int64_t x_stride, const float* weight, float eps, int64_t rows, int64_t cols, float* out,
             int64_t out_stride) {
  RmsNormRows<Vec>(x, x_stride, weight, eps, rows, cols, out, out_stride);
}
void Rope(float* x, int heads, int head_dim, const float* cos, const float* sin, bool interleaved) {
  RopeHeads<Vec>(x, heads, head_dim, cos, sin, interleaved);
}
void Hadamard(float* x, int64_t count, int64_t block) { HadamardRow<Vec>(x, count, block); }
void SiluMul(const float* gate, const float* up, int64_t count, float* out) { SiluMulRow<Vec>(gate, up, count, out); }
void Store(const float* src, DType type, int64_t count, std::byte* dst) { StoreRow<Vec>(src, type, count, dst); }
void DecodeFloatRow(DType type, const std::byte* src, int64_t elements, float* dst) {
  DecodeFloats<Vec>(type, src, elements, dst);
}

}  // namespace inkstone::avx2

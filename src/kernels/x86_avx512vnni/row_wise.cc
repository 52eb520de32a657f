// Row-wise operations.
#include "kernels/simd/row_wise.h"

#include "kernels/simd/kv_cache.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone::avx512vnni {

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

}  // namespace inkstone::avx512vnni

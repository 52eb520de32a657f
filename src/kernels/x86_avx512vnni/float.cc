// Products with float weights.
#include "kernels/simd/float_matmul.h"
#include "kernels/x86/activations.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone::avx512vnni {

size_t FloatScratchBytes(Phase phase, int64_t cols) { return FloatScratch<Vec>(phase, PaddedCols(cols)); }

void FloatMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  const int64_t x_stride = PaddedCols(op.w.cols);
  if (op.w.dtype == DType::kF32) {
    FloatProduct<Vec, ElementF32>(op, row_begin, row_end, x_stride, scratch);
  } else if (op.w.dtype == DType::kF16) {
    FloatProduct<Vec, ElementF16>(op, row_begin, row_end, x_stride, scratch);
  } else {
    FloatProduct<Vec, ElementBF16>(op, row_begin, row_end, x_stride, scratch);
  }
}

}  // namespace inkstone::avx512vnni

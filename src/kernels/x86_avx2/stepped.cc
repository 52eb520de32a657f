// Products of K-quants with activations in eight bits (kernels/steps.h).
#include "kernels/x86/step_product.h"
#include "kernels/x86_avx2/avx2.h"

namespace inkstone {

size_t avx2::StepScratchBytes() { return sizeof(StepScratch); }

void avx2::StepMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  StepProduct<ByteProducts>(op, row_begin, row_end, *static_cast<StepScratch*>(scratch));
}

}  // namespace inkstone

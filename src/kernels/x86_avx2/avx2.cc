#include "kernels/x86_avx2/avx2.h"

#include "kernels/x86/activations.h"

namespace inkstone {
namespace {

size_t MatMulScratchBytes(DType weight, Phase phase, int64_t cols) {
  return IsFloat(weight) ? avx2::FloatScratchBytes(phase, cols) : avx2::QuantScratchBytes(phase);
}
int64_t RowGrain(DType, Phase) { return 32; }
void MatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  IsFloat(op.w.dtype) ? avx2::FloatMatMul(op, row_begin, row_end, scratch)
                      : avx2::QuantMatMul(op, row_begin, row_end, scratch);
}

}  // namespace

void avx2::DecodeRow(DType type, const std::byte* src, int64_t elements, float* dst) {
  IsFloat(type) ? DecodeFloatRow(type, src, elements, dst) : DecodeQuantRow(type, src, elements, dst);
}

const KernelTable kAvx2Kernels = {
    .target = "avx2",
    .activation_format = ActivationFormatX86,
    .packed_bytes = PackedBytesX86,
    .pack = PackX86<avx2::kRun>,
    .pack_grain = PackGrainX86,
    .matmul_scratch_bytes = MatMulScratchBytes,
    .row_grain = RowGrain,
    .matmul = MatMul,
    .multiply_only = avx2::MultiplyOnly,
    .attention_scratch_bytes = avx2::AttentionScratchBytes,
    .attention = avx2::Attention,
    .rms_norm = avx2::RmsNorm,
    .rope = avx2::Rope,
    .hadamard = avx2::Hadamard,
    .silu_mul = avx2::SiluMul,
    .store = avx2::Store,
    .decode_row = avx2::DecodeRow,
};

}  // namespace inkstone

#include "kernels/x86_avx512vnni/avx512vnni.h"

#include "kernels/x86/activations.h"
#include "kernels/x86_avx2/avx2.h"

namespace inkstone {
namespace {

bool FloatType(DType type) { return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16; }

ActivationFormat FormatFor(DType weight, Phase) {
  return FloatType(weight) ? ActivationFormat::kF32 : ActivationFormat::kQ8;
}
int64_t PackGrain(ActivationFormat, Phase) { return 1; }
size_t MatMulScratchBytes(DType weight, Phase phase, int64_t cols) {
  return FloatType(weight) ? avx512vnni::FloatScratchBytes(phase, cols) : avx512vnni::QuantScratchBytes(phase);
}
int64_t RowGrain(DType, Phase) { return 32; }
void MatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  FloatType(op.w.dtype) ? avx512vnni::FloatMatMul(op, row_begin, row_end, scratch)
                        : avx512vnni::QuantMatMul(op, row_begin, row_end, scratch);
}

}  // namespace

const KernelTable kAvx512VnniKernels = {
    .target = "avx512vnni",
    .activation_format = FormatFor,
    .packed_bytes = PackedBytesX86,
    .pack = PackX86,
    .pack_grain = PackGrain,
    .matmul_scratch_bytes = MatMulScratchBytes,
    .row_grain = RowGrain,
    .matmul = MatMul,
    .attention_scratch_bytes = avx512vnni::AttentionScratchBytes,
    .attention = avx512vnni::Attention,
    .rms_norm = avx512vnni::RmsNorm,
    .rope = avx512vnni::Rope,
    .silu_mul = avx512vnni::SiluMul,
    .store = avx512vnni::Store,
    .decode_row = avx2::DecodeRow,
};

}  // namespace inkstone

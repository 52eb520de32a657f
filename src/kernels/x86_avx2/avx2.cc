#include "kernels/x86_avx2/avx2.h"

#include "kernels/x86/steps.h"

namespace inkstone {
namespace {

constexpr bool kIQ4Prompts = false;

size_t MatMulScratchBytes(DType weight, Phase phase, int64_t cols) {
  if (IsFloat(weight)) return avx2::FloatScratchBytes(phase, cols);
  return TakesSteps(weight, phase, kIQ4Prompts) ? avx2::StepScratchBytes() : avx2::QuantScratchBytes(phase);
}
int64_t RowGrain(DType, Phase) { return 32; }
void MatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  const auto matmul = IsFloat(op.w.dtype)                             ? avx2::FloatMatMul
                      : TakesSteps(op.w.dtype, op.phase, kIQ4Prompts) ? avx2::StepMatMul
                                                                      : avx2::QuantMatMul;
  matmul(op, row_begin, row_end, scratch);
}

}  // namespace

void avx2::DecodeRow(DType type, const std::byte* src, int64_t elements, float* dst) {
  IsFloat(type) ? DecodeFloatRow(type, src, elements, dst) : DecodeQuantRow(type, src, elements, dst);
}

const KernelTable kAvx2Kernels = {
    .target = "avx2",
    .activation_format = StepFormatFor<kIQ4Prompts>,
    .packed_bytes = StepPackedBytes,
    .pack = StepPack<avx2::kRun>,
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

#include "kernels/x86_avx512vnni/avx512vnni.h"

#include "kernels/x86/steps.h"
#include "kernels/x86_avx2/avx2.h"

namespace inkstone {
namespace {

constexpr bool kIQ4Prompts = true;

size_t MatMulScratchBytes(DType weight, Phase phase, int64_t cols) {
  if (IsFloat(weight)) return avx512vnni::FloatScratchBytes(phase, cols);
  return TakesSteps(weight, phase, kIQ4Prompts) ? avx512vnni::StepScratchBytes() : avx512vnni::QuantScratchBytes(phase);
}
int64_t RowGrain(DType, Phase) { return 32; }
void MatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  const auto matmul = IsFloat(op.w.dtype)                             ? avx512vnni::FloatMatMul
                      : TakesSteps(op.w.dtype, op.phase, kIQ4Prompts) ? avx512vnni::StepMatMul
                                                                      : avx512vnni::QuantMatMul;
  matmul(op, row_begin, row_end, scratch);
}

}  // namespace

const KernelTable kAvx512VnniKernels = {
    .target = "avx512vnni",
    .activation_format = StepFormatFor<kIQ4Prompts>,
    .packed_bytes = StepPackedBytes,
    .pack = StepPack<avx512vnni::kRun>,
    .pack_grain = PackGrainX86,
    .matmul_scratch_bytes = MatMulScratchBytes,
    .row_grain = RowGrain,
    .matmul = MatMul,
    .multiply_only = avx512vnni::MultiplyOnly,
    .attention_scratch_bytes = avx512vnni::AttentionScratchBytes,
    .attention = avx512vnni::Attention,
    .rms_norm = avx512vnni::RmsNorm,
    .rope = avx512vnni::Rope,
    .hadamard = avx512vnni::Hadamard,
    .silu_mul = avx512vnni::SiluMul,
    .store = avx512vnni::Store,
    .decode_row = avx2::DecodeRow,
};

}  // namespace inkstone

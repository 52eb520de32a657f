#include "kernels/x86_amx/amx.h"

#include "kernels/x86/activations.h"
#include "kernels/x86_avx2/avx2.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"

namespace inkstone {
namespace {

// Float weights are promised f32 arithmetic. Decode reads each weight once for few tokens, which vectors do as fast as
// memory delivers.
const KernelTable& Vectors() { return kAvx512VnniKernels; }

bool UsesTiles(DType weight, Phase phase) { return phase == Phase::kPrompt && !IsFloat(weight); }

ActivationFormat FormatFor(DType weight, Phase phase) {
  return UsesTiles(weight, phase) ? ActivationFormat::kBF16 : ActivationFormatX86(weight, phase);
}
size_t PackedBytes(ActivationFormat format, Phase phase, int64_t tokens, int64_t cols) {
  return format == ActivationFormat::kBF16 ? amx::PackedTileBytes(tokens, cols)
                                           : PackedBytesX86(format, phase, tokens, cols);
}
void Pack(ActivationFormat format, Phase phase, const float* x, int64_t x_stride, int64_t tokens, int64_t cols,
          int64_t token_begin, int64_t token_end, void* packed) {
  format == ActivationFormat::kBF16 ? amx::PackTiles(x, x_stride, tokens, cols, token_begin, token_end, packed)
                                    : PackX86(format, phase, x, x_stride, tokens, cols, token_begin, token_end, packed);
}
int64_t PackGrain(ActivationFormat format, Phase phase) {
  return format == ActivationFormat::kBF16 ? amx::kPackGrain : PackGrainX86(format, phase);
}
size_t MatMulScratchBytes(DType weight, Phase phase, int64_t cols) {
  return UsesTiles(weight, phase) ? amx::TileScratchBytes() : Vectors().matmul_scratch_bytes(weight, phase, cols);
}
int64_t RowGrain(DType weight, Phase phase) { return Vectors().row_grain(weight, phase); }
void MatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  UsesTiles(op.w.dtype, op.phase) ? amx::TileMatMul(op, row_begin, row_end, scratch)
                                  : Vectors().matmul(op, row_begin, row_end, scratch);
}

}  // namespace

const KernelTable kAmxKernels = {
    .target = "amx",
    .activation_format = FormatFor,
    .packed_bytes = PackedBytes,
    .pack = Pack,
    .pack_grain = PackGrain,
    .matmul_scratch_bytes = MatMulScratchBytes,
    .row_grain = RowGrain,
    .matmul = MatMul,
    .attention_scratch_bytes = amx::AttentionScratchBytes,
    .attention = amx::Attention,
    .rms_norm = avx512vnni::RmsNorm,
    .rope = avx512vnni::Rope,
    .silu_mul = avx512vnni::SiluMul,
    .store = avx512vnni::Store,
    .decode_row = avx2::DecodeRow,
};

}  // namespace inkstone

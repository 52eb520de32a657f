#include "kernels/x86_amx/amx.h"

#include "kernels/x86/activations.h"
#include "kernels/x86/row_product.h"
#include "kernels/x86_avx2/avx2.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"

namespace inkstone {
namespace {

const KernelTable& Vectors() { return kAvx512VnniKernels; }

// Few tokens are multiplied as fast as memory delivers without tiles.
bool InTiles(ActivationFormat format) {
  return format == ActivationFormat::kBF16 || format == ActivationFormat::kSplit;
}
int Parts(ActivationFormat format) { return format == ActivationFormat::kSplit ? 2 : 1; }
bool InGroups(ActivationFormat format, Phase phase, int64_t tokens) {
  return format == ActivationFormat::kQ15 && phase == Phase::kDecode && tokens > kRowTokens;
}

ActivationFormat FormatFor(DType weight, Phase phase) {
  if (phase == Phase::kDecode || weight == DType::kF32) return ActivationFormatX86(weight, phase);
  return IsFloat(weight) ? ActivationFormat::kSplit : ActivationFormat::kBF16;
}
size_t PackedBytes(ActivationFormat format, Phase phase, int64_t tokens, int64_t cols) {
  if (InTiles(format)) return amx::PackedTileBytes(tokens, cols, Parts(format));
  const size_t vectors = PackedBytesX86(format, phase, tokens, cols);
  if (!InGroups(format, phase, tokens)) return vectors;
  const size_t groups = amx::PackedGroupBytes(tokens, cols);
  return groups > vectors ? groups : vectors;  // fewer tokens never need more
}
void Pack(ActivationFormat format, Phase phase, const float* x, int64_t x_stride, int64_t tokens, int64_t cols,
          int64_t token_begin, int64_t token_end, void* packed) {
  const auto pack = format == ActivationFormat::kSplit  ? amx::PackSplitTiles
                    : format == ActivationFormat::kBF16 ? amx::PackTiles
                    : InGroups(format, phase, tokens)   ? amx::PackGroups
                                                        : nullptr;
  if (pack != nullptr) return pack(x, x_stride, tokens, cols, token_begin, token_end, packed);
  PackX86<avx512vnni::kRun>(format, phase, x, x_stride, tokens, cols, token_begin, token_end, packed);
}
int64_t PackGrain(ActivationFormat format, Phase phase) {
  if (InTiles(format)) return amx::kPackGrain;
  return InGroups(format, phase, amx::kBatchTokens) ? amx::kBatchTokens : PackGrainX86(format, phase);
}
size_t MatMulScratchBytes(DType weight, Phase phase, int64_t cols) {
  if (InTiles(FormatFor(weight, phase))) return amx::TileScratchBytes();
  return IsFloat(weight) ? Vectors().matmul_scratch_bytes(weight, phase, cols) : amx::GroupScratchBytes();
}
int64_t RowGrain(DType weight, Phase phase) { return Vectors().row_grain(weight, phase); }
void MatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  const ActivationFormat format = FormatFor(op.w.dtype, op.phase);
  const auto matmul = InTiles(format)                         ? amx::TileMatMul
                      : InGroups(format, op.phase, op.tokens) ? amx::GroupMatMul
                      : IsFloat(op.w.dtype)                   ? avx512vnni::FloatMatMul
                                                              : avx512vnni::QuantMatMul;
  matmul(op, row_begin, row_end, scratch);
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
    .multiply_only = amx::MultiplyOnly,
    .attention_scratch_bytes = amx::AttentionScratchBytes,
    .attention = amx::Attention,
    .rms_norm = avx512vnni::RmsNorm,
    .rope = avx512vnni::Rope,
    .hadamard = avx512vnni::Hadamard,
    .silu_mul = avx512vnni::SiluMul,
    .store = avx512vnni::Store,
    .decode_row = avx2::DecodeRow,
};

}  // namespace inkstone

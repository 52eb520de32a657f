// x86-64 with AVX-512 (F, BW, VL, DQ) and VNNI.
#pragma once

#include "kernels/kernels.h"

namespace inkstone {

extern const KernelTable kAvx512VnniKernels;

namespace avx512vnni {

inline constexpr int kRun = 64;  // of QuantizedPiece (x86/activations.h): the weights in a register

// The parts of the table, one for each source file.
size_t QuantScratchBytes(Phase phase);
void QuantMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch);
// For activations of ActivationFormat::kSteps.
size_t StepScratchBytes();
void StepMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch);

size_t FloatScratchBytes(Phase phase, int64_t cols);
void FloatMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch);

MultiplyLoop MultiplyOnly(ActivationFormat format);

size_t AttentionScratchBytes(int heads_per_kv, int head_dim, int page_tokens);
void Attention(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin, int64_t token_end,
               void* scratch);

void RmsNorm(const float* x, int64_t x_stride, const float* weight, float eps, int64_t rows, int64_t cols, float* out,
             int64_t out_stride);
void Rope(float* x, int heads, int head_dim, const float* cos, const float* sin, bool interleaved);
void Hadamard(float* x, int64_t count, int64_t block);
void SiluMul(const float* gate, const float* up, int64_t count, float* out);
void Store(const float* src, DType type, int64_t count, std::byte* dst);

}  // namespace avx512vnni
}  // namespace inkstone

// x86-64 with AMX (bf16 and int8 tiles) and AVX-512 BF16, on top of what x86_avx512vnni needs.
#pragma once

#include "kernels/kernels.h"

namespace inkstone {

extern const KernelTable kAmxKernels;

namespace amx {

// The prompt phase of products, of every type but F32. `parts`: 1 for kBF16, 2 for kSplit.
inline constexpr int64_t kPackGrain = 32;  // tokens
size_t PackedTileBytes(int64_t tokens, int64_t cols, int parts);
void PackTiles(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, int64_t token_begin, int64_t token_end,
               void* packed);
void PackSplitTiles(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, int64_t token_begin,
                    int64_t token_end, void* packed);
size_t TileScratchBytes();
void TileMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch);

// The decode phase of products of quantized weights with many tokens.
inline constexpr int64_t kBatchTokens = 16;  // packed together
size_t PackedGroupBytes(int64_t tokens, int64_t cols);
void PackGroups(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, int64_t token_begin, int64_t token_end,
                void* packed);
size_t GroupScratchBytes();
void GroupMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch);

MultiplyLoop MultiplyOnly(ActivationFormat format);

size_t AttentionScratchBytes(int heads_per_kv, int head_dim, int page_tokens);
// Tiles for prompts over an f16 or q8_0 cache whose head_dim is a multiple of 32, unless exact; else what avx512vnni
// does.
void Attention(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin, int64_t token_end,
               void* scratch);

}  // namespace amx
}  // namespace inkstone

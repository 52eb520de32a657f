// The compute kernels of one CPU target, as a table of functions chosen once at start.
//
// Numerics contract (batch invariance): what a kernel writes for one token depends only on that token's inputs, the
// weights and the phase: never on how many tokens or rows one call covers, nor on how work is split over threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/cpu_info.h"
#include "core/dtype.h"
#include "core/kv_vector.h"
#include "core/status.h"

namespace inkstone {

// Prompt: many tokens, bound by arithmetic. Decode: few tokens (also verification of drafts), bound by reading weights.
// A row's numbers may differ between the phases in the last bits.
enum class Phase : uint8_t { kPrompt, kDecode };

// A weight matrix in its file layout, (rows, cols) row-major, each row RowBytes(dtype, cols) long. Borrowed. Rows of
// GGUF tensors are 32-byte aligned only at the tensor's start; safetensors give no alignment beyond the element's.
struct WeightView {
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;

  int64_t row_bytes() const { return RowBytes(dtype, cols); }
  const std::byte* row(int64_t r) const { return data + r * row_bytes(); }
};

// How activations are laid out for a product; the same packed activations serve every weight of the same format.
enum class ActivationFormat : uint8_t {
  kF32,    // for float weights
  kQ15,    // symmetric 15-bit integers with one f32 scale for each token (layout private to the target)
  kSteps,  // 8-bit integers with integer steps, 15 bits where outliers are and for 8-bit weights (layout private to the
           // target)
  kBF16,   // bf16 (layout private to the target)
  kSplit,  // each value as the sum of two bf16, which keeps 16 bits of it (layout private to the target)
};

struct MatMulOp {
  WeightView w;
  Phase phase = Phase::kDecode;
  const void* activations = nullptr;  // from KernelTable::pack, covering `tokens` rows of w.cols
  int64_t tokens = 0;
  float* y = nullptr;           // (tokens, y_stride); column r of row t receives dot(w[r], x[t]) (+ bias[r])
  int64_t y_stride = 0;         // floats
  const float* bias = nullptr;  // (w.rows) or null
  bool accumulate = false;      // add to y instead of overwriting it (residual connections)
};

// The multiplications of a product alone, on registers.
struct MultiplyLoop {
  std::string_view instruction;
  // Does so many rounds and gives how many operations that was, two for each product.
  int64_t (*run)(int64_t rounds) = nullptr;
};

// Causal grouped-query attention of one sequence's new tokens over its pages, for one layer. Where keys are stored
// rotated (KvKeysRotated), q must be transformed alike.
struct AttentionOp {
  Phase phase = Phase::kDecode;
  const float* q = nullptr;  // (tokens, q_stride), heads * head_dim used
  int64_t q_stride = 0;
  float* out = nullptr;  // (tokens, out_stride), heads * head_dim written
  int64_t out_stride = 0;
  int64_t tokens = 0;
  int64_t first_position = 0;  // of q's row 0; row t attends to positions 0 .. first_position + t
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;     // any multiple of 2; fast for multiples of 16
  float scale = 1.0f;   // 1 / sqrt(head_dim)
  KvTypes types = {};   // each IsKvType and KvTypeFits
  bool exact = false;   // f32 arithmetic, as models with float weights are promised; else factors may be rounded
  int page_tokens = 0;  // positions per page
  // One pointer for each page of the sequence; a page holds (kv_heads, page_tokens) vectors of this layer
  // (kv_vector.h).
  const std::byte* const* k_pages = nullptr;
  const std::byte* const* v_pages = nullptr;
};

// All functions may be called from several threads on disjoint ranges. `scratch` is private to the calling thread;
// `scratch` and packed activations are 64-byte aligned.
struct KernelTable {
  std::string_view target;  // "ref", "avx2", "avx512vnni", "amx"

  // --- products -----------------------------------------------------------------------------------------------
  ActivationFormat (*activation_format)(DType weight, Phase phase);
  // Bytes of packed activations for `tokens` rows of `cols`.
  size_t (*packed_bytes)(ActivationFormat format, Phase phase, int64_t tokens, int64_t cols);
  // Packs rows [token_begin, token_end) of x (tokens, x_stride) into `packed`, which has room for `tokens` rows.
  void (*pack)(ActivationFormat format, Phase phase, const float* x, int64_t x_stride, int64_t tokens, int64_t cols,
               int64_t token_begin, int64_t token_end, void* packed);
  // pack ranges must begin at multiples of this.
  int64_t (*pack_grain)(ActivationFormat format, Phase phase);
  size_t (*matmul_scratch_bytes)(DType weight, Phase phase, int64_t cols);
  // Preferred number of weight rows for one call; ranges begin at multiples of it (the last may be shorter).
  int64_t (*row_grain)(DType weight, Phase phase);
  void (*matmul)(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch);

  // What bounds products with activations of a format when a prompt is long; null: nothing worth measuring.
  MultiplyLoop (*multiply_only)(ActivationFormat format);

  // --- attention ----------------------------------------------------------------------------------------------
  size_t (*attention_scratch_bytes)(int heads_per_kv, int head_dim, int page_tokens);
  // For KV heads [kv_head_begin, kv_head_end) and query rows [token_begin, token_end).
  void (*attention)(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin, int64_t token_end,
                    void* scratch);

  // --- row-wise ------------------------------------------------------------------------------------------------
  // out[i] = x[i] * weight[i] / sqrt(mean(x^2) + eps) for each of `rows` rows (Zhang & Sennrich 2019). x may be out.
  void (*rms_norm)(const float* x, int64_t x_stride, const float* weight, float eps, int64_t rows, int64_t cols,
                   float* out, int64_t out_stride);
  // Rotates each of `heads` heads of one token in place (Su et al. 2021). cos and sin are (head_dim / 2) for the
  // token's position. interleaved: pairs (2i, 2i+1), else (i, i + head_dim/2).
  void (*rope)(float* x, int heads, int head_dim, const float* cos, const float* sin, bool interleaved);
  // Replaces each `block` consecutive values by their orthonormal Walsh-Hadamard transform: value j becomes the sum of
  // (-1)^popcount(i & j) x[i] / sqrt(block). It is its own inverse. block is a power of two, at least 32, that divides
  // count. The same bits on every target.
  void (*hadamard)(float* x, int64_t count, int64_t block);
  // out[i] = silu(gate[i]) * up[i]; out may be gate.
  void (*silu_mul)(const float* gate, const float* up, int64_t count, float* out);
  // One head's vector of `count` values, as they are, to the KV cache (kv_vector.h).
  void (*store)(const float* src, DType type, int64_t count, std::byte* dst);
  // One weight row to f32 (embedding look-up), any type.
  void (*decode_row)(DType type, const std::byte* src, int64_t elements, float* dst);
};

// The table of `name` ("ref", "avx2", "avx512vnni", "amx"; empty picks the best the CPU has). kInvalidArgument with the
// list of possible names when it is unknown or the CPU lacks it.
Result<const KernelTable*> SelectKernels(std::string_view name, const CpuFeatures& features);
// Every table that this CPU can run, slowest first.
std::span<const KernelTable* const> AvailableKernels(const CpuFeatures& features);

}  // namespace inkstone

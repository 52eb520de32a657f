// Encode and decode of every tensor type; the decoder is the specification that kernels are tested against.
// Block layouts follow the GGUF / ggml format (ggml-common.h documents them); see blocks.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "core/status.h"

namespace inkstone {

// Decodes `elements` values (a multiple of the type's block) from `src` to f32.
void DecodeRow(DType type, const std::byte* src, int64_t elements, float* dst);

// Encodes `elements` f32 values (a multiple of the type's block) to `dst` with the scales that make the weighted
// squared error small: sum of importance[i] * (x[i] - decoded[i])^2. `importance`: (elements), finite and not negative;
// null: all alike. Values must be finite and within EncodeLimit; check them with FirstBeyond. Deterministic on every
// machine.
void EncodeRow(DType type, const float* src, int64_t elements, std::byte* dst, const float* importance = nullptr);

// Error feedback: later columns make up for the errors of earlier ones (GPTQ: Frantar et al. 2023, "Accurate
// Post-Training Quantization for Generative Pre-trained Transformers").
struct FeedbackColumns {
  const float* importance;  // (count) or null
  const float* upper;       // (count, count) with row stride `stride`: upper Cholesky factor of the inverse Hessian,
                            // diagonal > 0
  int64_t stride;
  int64_t count;  // a multiple of the type's block, at most 256
};
struct FeedbackRow {
  float* x;        // (count): the row's values, earlier columns' feedback included; changed by feedback within
  float* error;    // (count), out: (x[j] - decoded[j]) / upper[j][j], for the caller to feed to the columns after these
  std::byte* dst;  // (RowBytes(type, count)), out
};
// Encodes the same columns of several rows: scales are fitted to x as each block of the type begins, then column after
// column is rounded and its error fed to the columns after it. Quantized types only. A row's bytes do not depend on the
// others; 16 rows together go fastest.
void EncodeWithFeedback(DType type, const FeedbackColumns& columns, std::span<const FeedbackRow> rows);

// Index of the first NaN or infinity, or -1.
int64_t FirstNonFinite(const float* values, int64_t count);

// Index of the first NaN or value whose magnitude is above `limit` (finite, >= 0), or -1.
int64_t FirstBeyond(const float* values, int64_t count, float limit);

// The largest magnitude that EncodeRow takes without a value or a block scale becoming infinite.
float EncodeLimit(DType type);

}  // namespace inkstone

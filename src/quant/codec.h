// Scalar encode and decode of every tensor type: the specification that kernels are tested against.
// Block layouts follow the GGUF / ggml format (ggml-common.h documents them); see blocks.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/status.h"

namespace inkstone {

// Decodes `elements` values (a multiple of the type's block) from `src` to f32.
void DecodeRow(DType type, const std::byte* src, int64_t elements, float* dst);

// True for the types that EncodeRow writes: F32, F16, BF16, Q8_0, Q4_0, Q4_1.
bool CanEncode(DType type);

// Encodes `elements` f32 values (a multiple of the type's block) to `dst`. CanEncode(type) must hold. Values must be
// finite; use FirstNonFinite to check them.
void EncodeRow(DType type, const float* src, int64_t elements, std::byte* dst);

// Index of the first NaN or infinity, or -1.
int64_t FirstNonFinite(const float* values, int64_t count);

// Index of the first NaN or value whose magnitude is above `limit` (finite, >= 0), or -1.
int64_t FirstBeyond(const float* values, int64_t count, float limit);

// The largest magnitude that EncodeRow takes without a value or a block scale becoming infinite. CanEncode(type) must
// hold.
float EncodeLimit(DType type);

}  // namespace inkstone

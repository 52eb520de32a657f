// How the KV cache holds one head's vector of one position.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace inkstone {

// F32 and F16: head_dim values. Q8_0: head_dim int8 values, then one f32 scale for each 32 of them (head_dim is a
// multiple of 32); unlike in the GGUF block of that name the values lie together and scales need no conversion, so that
// attention reads them at the speed of memory.
inline constexpr int kKvGroup = 32;

inline constexpr bool IsKvType(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kQ8_0;
}
// Whether heads of this size can be held in a KV type.
inline constexpr bool KvTypeFits(DType type, int64_t head_dim) {
  return type != DType::kQ8_0 || head_dim % kKvGroup == 0;
}

inline int64_t KvVectorBytes(DType type, int64_t head_dim) {
  if (type != DType::kQ8_0) return RowBytes(type, head_dim);
  return head_dim + head_dim / kKvGroup * static_cast<int64_t>(sizeof(float));
}

}  // namespace inkstone

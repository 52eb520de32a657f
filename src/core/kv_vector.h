// How the KV cache holds one head's vector of one position.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/dtype.h"

namespace inkstone {

// F32 and F16: head_dim values. Q8_0 and Q4_0: head_dim values in groups of 32, then one scale for each group (head_dim
// is a multiple of 32). Unlike in the GGUF blocks of those names the values lie together, so that attention reads them
// at the speed of memory.
//   Q8_0: int8 values, f32 scales, which need no conversion (kernels/q8.h).
//   Q4_0: 16 bytes of codes for each group, value i in the low and value 16 + i in the high half of byte i; bf16
//   scales, which are half as large as f32 ones and cover the same range (kernels/q4.h). 18 bytes for 32 values.
inline constexpr int kKvGroup = 32;

// Keys and values have a type each.
struct KvTypes {
  DType k = DType::kF16;
  DType v = DType::kF16;
  bool operator==(const KvTypes&) const = default;
};

inline constexpr bool IsKvType(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kQ8_0 || type == DType::kQ4_0;
}
// Whether heads of this size can be held in a KV type.
inline bool KvTypeFits(DType type, int64_t head_dim) { return IsFloat(type) || head_dim % kKvGroup == 0; }

// Whether keys of a type are stored after an orthonormal Hadamard transform, which spreads what a few channels hold
// over all of them; queries are transformed alike, so that their products stay what they were. Values have no such
// channels: transforming them was measured to gain nothing.
inline bool KvKeysRotated(DType type) { return !IsFloat(type); }
// The length of the transforms of one head: the largest power of two that divides its size.
inline constexpr int64_t HadamardBlock(int64_t head_dim) { return head_dim & -head_dim; }

inline int64_t KvVectorBytes(DType type, int64_t head_dim) {
  if (IsFloat(type)) return RowBytes(type, head_dim);
  const int64_t groups = head_dim / kKvGroup;
  return type == DType::kQ8_0 ? head_dim + groups * static_cast<int64_t>(sizeof(float)) : groups * 18;
}

// "Q8_0" for both, "Q8_0/Q4_0" for keys and values.
std::string KvTypesName(KvTypes types);
// The way back, in any case; nullopt for what is not a KV type or a pair of them.
std::optional<KvTypes> KvTypesFromName(std::string_view name);

}  // namespace inkstone

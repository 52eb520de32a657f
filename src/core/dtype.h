// Element types of tensors, numbered as in GGUF (ggml_type in the GGUF specification).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace inkstone {

enum class DType : uint8_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
};

struct DTypeInfo {
  DType type;
  std::string_view name;  // "Q4_K", as llama.cpp prints it
  int block_elements;     // elements that share one block; rows are a multiple of it
  int block_bytes;
};

// The record of a type that this program knows.
const DTypeInfo& Info(DType type);

// Every known type, in the order of the enum.
struct DTypeRange {
  const DTypeInfo* first;
  const DTypeInfo* last;
  const DTypeInfo* begin() const { return first; }
  const DTypeInfo* end() const { return last; }
};
DTypeRange AllDTypes();

// nullopt when the number is not a type that this program reads.
std::optional<DType> DTypeFromGguf(uint32_t number);

// Case-insensitive, "q8_0" or "Q8_0".
std::optional<DType> DTypeFromName(std::string_view name);

// Bytes of `elements` values; elements must be a multiple of the block.
inline int64_t RowBytes(DType type, int64_t elements) {
  const DTypeInfo& info = Info(type);
  return elements / info.block_elements * info.block_bytes;
}

// F32, F16 and BF16: computed with f32 activations; the others are block-quantized.
inline bool IsFloat(DType type) { return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16; }

}  // namespace inkstone

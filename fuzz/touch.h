// Reads everything that a parsed checkpoint offers, so that a sanitizer sees a bad view or range.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

#include "formats/checkpoint.h"
#include "formats/metadata.h"

namespace inkstone::fuzz {

inline void Touch(std::string_view text) {
  for (const char& c : text) (void)*static_cast<const volatile char*>(&c);
}

inline void TouchMetadata(const Metadata& metadata) {
  for (const Metadata::Entry& entry : metadata.entries()) {
    Touch(entry.key);
    if (metadata.Find(entry.key) != &entry.value) __builtin_trap();
    if (const auto text = metadata.GetString(entry.key); text.ok()) Touch(*text);
    if (const auto strings = metadata.GetStrings(entry.key); strings.ok()) {
      for (const std::string_view text : *strings) Touch(text);
    }
    (void)metadata.GetInt(entry.key);
    (void)metadata.GetFloat(entry.key);
    (void)metadata.GetBool(entry.key);
    (void)metadata.GetInts(entry.key);
    (void)metadata.GetFloats(entry.key);
  }
}

// First and last byte of every tensor; its size must match its shape and its type.
inline void TouchTensors(std::span<const TensorInfo> tensors, std::span<const std::byte> file) {
  for (const TensorInfo& tensor : tensors) {
    if (tensor.offset > file.size() || tensor.bytes > file.size() - tensor.offset) __builtin_trap();
    int64_t elements = 1;
    for (const int64_t dim : tensor.shape) elements *= dim;
    if (elements < 1 || static_cast<uint64_t>(RowBytes(tensor.dtype, elements)) != tensor.bytes) __builtin_trap();
    const auto data = file.subspan(tensor.offset, tensor.bytes);
    (void)*static_cast<const volatile std::byte*>(&data.front());
    (void)*static_cast<const volatile std::byte*>(&data.back());
  }
}

}  // namespace inkstone::fuzz

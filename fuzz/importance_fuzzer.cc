// Any bytes as an imatrix file: parsing must end in an error or in means that the quantizers can use.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "compress/importance.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto importance = inkstone::ParseImportance(bytes, "fuzz.imatrix");
  if (!importance.ok()) return 0;
  if (importance->empty()) __builtin_trap();
  for (const auto& [name, channels] : *importance) {
    if (channels.mean_square.empty() || channels.tokens < 0) __builtin_trap();
    for (const float value : channels.mean_square) {
      if (!std::isfinite(value) || value < 0.0f) __builtin_trap();
    }
  }
  return 0;
}

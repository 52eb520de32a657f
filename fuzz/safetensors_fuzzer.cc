// Any bytes as a safetensors file: parsing must end in a value or an error, and every tensor must lie within the bytes.
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/hf_folder.h"
#include "formats/safetensors.h"
#include "fuzz/touch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto tensors = inkstone::ParseSafetensors(bytes, "fuzz.safetensors");
  if (!tensors.ok()) return 0;
  inkstone::fuzz::TouchTensors(*tensors, bytes);
  for (const inkstone::TensorInfo& tensor : *tensors) {
    if (const auto place = inkstone::PlaceHfTensor(tensor.name); place && place->name.empty()) __builtin_trap();
  }
  return 0;
}

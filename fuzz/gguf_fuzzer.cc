// Any bytes as a GGUF file: parsing must end in a value or an error, every tensor must lie within the bytes, and what
// was read must be readable through the typed accessors.
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/gguf_reader.h"
#include "fuzz/touch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto file = inkstone::ParseGguf(bytes, "fuzz.gguf");
  if (!file.ok()) return 0;
  inkstone::fuzz::TouchMetadata(file->metadata);
  inkstone::fuzz::TouchTensors(file->tensors, bytes);
  return 0;
}

// GGUF v2 and v3, little-endian (specification: docs/gguf.md of the ggml project).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "formats/checkpoint.h"
#include "formats/metadata.h"

namespace inkstone {

inline constexpr uint32_t kGgufMagic = 0x46554747;  // "GGUF" read as a little-endian number
inline constexpr uint32_t kGgufAlignment = 32;      // of tensor data, where general.alignment says nothing
inline constexpr size_t kGgufMaxName = 64;          // bytes of a tensor's name
inline constexpr size_t kGgufMaxKey = 65535;        // bytes of a metadata key

// Header of one GGUF file. Strings of the metadata view the parsed bytes; offsets count from their start.
struct GgufFile {
  uint32_t version = 0;
  Metadata metadata;
  std::vector<TensorInfo> tensors;
};

// Parses and validates a whole file's bytes; only the header is touched. `name` stands for it in errors: kDataLoss for
// malformed bytes, kUnimplemented for big-endian files, version 1 and tensor types that this program does not read.
Result<GgufFile> ParseGguf(std::span<const std::byte> bytes, const std::string& name);

// "model-00002-of-00003.gguf" for the second (part = 1) of three parts of the model whose first is `first`; empty when
// `first` does not end in "-00001-of-0000N.gguf" with N = count.
std::string GgufPartPath(std::string_view first, int64_t part, int64_t count);

class GgufReader {
 public:
  // Opens a file, with all its parts when it is the first of a split model. The "split." keys are left out of the
  // metadata: the checkpoint is one.
  static Result<Checkpoint> Open(const std::string& path);
};

}  // namespace inkstone

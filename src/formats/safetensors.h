// The safetensors container: an 8-byte length, a JSON header, tensor bytes (github.com/huggingface/safetensors).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/status.h"
#include "formats/checkpoint.h"

namespace inkstone {

inline constexpr size_t kMaxSafetensorsHeader = 100'000'000;  // bytes, the reference implementation's limit

// Parses and validates a whole file's bytes; only the header is touched. Tensors keep their names, come in the order of
// their bytes, and have offsets from the start of the file. They fill the data section without gap or overlap, as the
// format asks. `name` stands for the file in errors: kDataLoss for malformed bytes, kUnimplemented for element types
// other than F32, F16 and BF16.
Result<std::vector<TensorInfo>> ParseSafetensors(std::span<const std::byte> bytes, const std::string& name);

// model.safetensors.index.json: which shard holds which tensor.
struct ShardIndex {
  std::vector<std::string> shards;                  // file names, ascending, without any folder
  std::unordered_map<std::string, size_t> tensors;  // name -> position in shards
};

// kDataLoss for malformed JSON and for shard names that are not plain "*.safetensors" names.
Result<ShardIndex> ParseShardIndex(std::string_view text, const std::string& name);

}  // namespace inkstone

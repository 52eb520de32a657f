// Any text as the JSON files of a Hugging Face folder. A zero byte parts config.json from generation_config.json; the
// whole is also read as the index of a sharded model.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "formats/hf_folder.h"
#include "formats/safetensors.h"
#include "fuzz/touch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t cut = all.find('\0');
  inkstone::HfConfigText text;
  text.config = all.substr(0, cut);
  if (cut != std::string_view::npos) text.generation = all.substr(cut + 1);
  const auto config = inkstone::ParseHfConfig(text, "fuzz", "fuzz");
  if (config.ok()) {
    inkstone::fuzz::TouchMetadata(config->metadata);
    const auto architecture = config->metadata.GetString("general.architecture");
    if (!architecture.ok() || config->layers < 1) __builtin_trap();
  }
  const auto index = inkstone::ParseShardIndex(all, "fuzz.json");
  if (!index.ok()) return 0;
  for (const auto& [tensor, shard] : index->tensors) {
    if (shard >= index->shards.size()) __builtin_trap();
    (void)inkstone::PlaceHfTensor(tensor);
  }
  for (const std::string& shard : index->shards) {
    if (shard.find('/') != std::string::npos || shard.starts_with('.')) __builtin_trap();
  }
  return 0;
}

// The text files of a synthetic Hugging Face folder. For .cc files of this layer only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compress/synth.h"
#include "core/status.h"

namespace inkstone {

struct TextFile {
  std::string name;  // within the folder
  std::string text;
};

struct SynthTokenizer {
  std::vector<TextFile> files;
  int32_t bos = -1;            // -1: none
  int32_t eos = -1;            // -1: none
  std::vector<int32_t> stops;  // end a generation; eos first
};

// One token for each byte, <|endoftext|> (256), <|im_start|> (257), <|im_end|> (258); Qwen's pre-tokenizer and a ChatML
// template.
SynthTokenizer ByteTokenizer();
// tokenizer.json of `folder` and what lies beside it. kInvalidArgument when it has more than `vocab` tokens.
Result<SynthTokenizer> CopiedTokenizer(const std::string& folder, int64_t vocab);

// kInvalidArgument when shape.rope_scaling_json is not an object.
Result<std::string> ConfigJson(const SynthShape& shape, DType type, const SynthTokenizer& tokenizer);
std::string GenerationConfigJson(const SynthTokenizer& tokenizer);

// One tensor of a safetensors file.
struct SynthTensor {
  std::string name;
  std::vector<int64_t> shape;
  float mean = 0.0f;
  uint64_t bytes = 0;

  int64_t elements() const;
};
// Length and JSON of the header: what precedes the first tensor's bytes.
std::string SafetensorsHeader(DType type, const SynthTensor* begin, const SynthTensor* end);
// model.safetensors.index.json: shards[i] is the shard of tensors[i].
std::string IndexJson(const std::vector<SynthTensor>& tensors, const std::vector<std::string>& shards);

}  // namespace inkstone

// A Hugging Face model folder, translated to GGUF's vocabulary: config.json becomes metadata, tensor names become
// GGUF's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "formats/checkpoint.h"
#include "formats/metadata.h"

namespace inkstone {

struct HfConfig {
  Metadata metadata;  // source: the path of config.json
  int64_t layers = 0;
  bool tied_output = false;           // tie_word_embeddings: the output matrix is token_embd
  std::vector<std::string> warnings;  // what was odd and is read otherwise than it is written
};

// What the translation reads.
struct HfConfigText {
  std::string_view config;      // config.json
  std::string_view generation;  // generation_config.json, empty when there is none
};

// Keys as llama.cpp's converter writes them: general.{architecture,name,sampling.*}, {arch}.{block_count,
// context_length, embedding_length, feed_forward_length, vocab_size, attention.*, rope.*}. Beyond those:
//   {arch}.rope.scaling.attn_factor          yarn: the factor of cos and sin over 1 + 0.1 ln(factor), where it is not 1
//   inkstone.rope.yarn_truncate              false: yarn's ramp begins and ends between two frequencies
//   inkstone.rope.llama3.factor, .low_freq_factor, .high_freq_factor, .original_context_length
//                                            llama3 scaling, which a GGUF has as the tensor rope_freqs.weight
// Architectures: qwen3, qwen2, llama. Errors name file, field, expected, found: kDataLoss for values that make no
// sense, kUnimplemented for models of another kind (mixture of experts, sliding windows, quantized checkpoints, ...).
Result<HfConfig> ParseHfConfig(const HfConfigText& text, const std::string& folder, const std::string& model_name);

// A tensor's place in the model.
struct HfTensorPlace {
  std::string name;    // GGUF name
  int64_t layer = -1;  // of a block's tensor; others: -1 before the blocks, INT64_MAX after them
  int slot = 0;        // order within the layer
};
// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight". nullopt for names that such models do not have.
std::optional<HfTensorPlace> PlaceHfTensor(std::string_view hf_name);

class HfFolderReader {
 public:
  // Tensors come in the model's order: token_embd, the blocks, output_norm, output. An lm_head.weight beside tied
  // embeddings is left out, as are rotary buffers.
  static Result<Checkpoint> Open(const std::string& folder);
};

}  // namespace inkstone

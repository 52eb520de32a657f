// The numbers that describe a decoder-only transformer, whatever its architecture.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "formats/checkpoint.h"
#include "kvcache/page_pool.h"

namespace inkstone {

struct RopeConfig {
  double theta = 10000.0;
  int head_dim = 0;
  bool interleaved = false;              // rotates pairs (2i, 2i+1) instead of (i, i + head_dim/2)
  double linear_factor = 1.0;            // positions are divided by it (Chen et al. 2023)
  std::vector<float> frequency_factors;  // (head_dim/2) divisors of the frequencies, empty for none (Llama 3)
  // YaRN (Peng et al. 2023); factor 1 switches it off.
  double yarn_factor = 1.0;
  double yarn_original_context = 0;
  double yarn_beta_fast = 32.0;
  double yarn_beta_slow = 1.0;
  bool yarn_truncate = true;    // the ramp begins and ends at whole frequencies
  double attention_factor = 1;  // multiplies cos and sin, with YaRN beside its usual 0.1 ln(factor) + 1
};

struct ModelConfig {
  std::string architecture;  // "qwen3", "qwen2", "llama"
  std::string name;
  int layers = 0;
  int hidden = 0;
  int intermediate = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int vocab = 0;        // rows of the embedding
  int64_t context = 0;  // positions it was trained for, or that YaRN extends them to
  float rms_eps = 1e-6f;
  RopeConfig rope;
  std::vector<std::string> warnings;  // what was odd about the description, for people

  double key_bias_ratio = 0;  // KeyBiasRatio (key_bias.h)

  // What the cache holds unless something else is asked for: Q8_0, which costs little (docs/SERVING.md), or F16 where
  // heads have no multiple of 32 dimensions, and for keys whose bias is most of them.
  KvTypes DefaultKvTypes() const;
  // Why keys would lose much in this type, as a sentence for people; empty when they don't.
  std::string KeyTypeTrouble(DType type) const;
  // kInvalidArgument for types that the cache of this model cannot have.
  Result<KvLayout> KvLayoutFor(KvTypes types) const;
};

// The part of a configuration that all decoder-only architectures name alike in GGUF: sizes, RoPE, context, vocabulary
// (from the embedding's rows). Errors name file, key, expected, found.
Result<ModelConfig> ReadDecoderConfig(const Checkpoint& checkpoint, const std::string& architecture);

}  // namespace inkstone

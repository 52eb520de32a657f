// Checkpoints of any shape with random weights, as Hugging Face folders: for measuring memory and speed at true size,
// and for tests of odd shapes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "compress/progress.h"
#include "core/dtype.h"
#include "core/status.h"
#include "core/thread_pool.h"

namespace inkstone {

struct SynthShape {
  std::string architecture = "qwen3";  // "qwen3", "qwen2" (with QKV biases) or "llama"
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides heads
  int64_t head_dim = 0;  // even; heads * head_dim need not be hidden
  int64_t intermediate = 0;
  int64_t vocab = 0;  // rows of the embedding; may exceed the tokenizer's vocabulary
  bool tied = true;   // no output matrix of its own
  double rope_theta = 1e6;
  std::string rope_scaling_json;  // object for config.json's "rope_scaling" (llama3, linear, yarn); empty: null
  int64_t max_position = 40960;   // context in tokens
  double rms_eps = 1e-6;
};

// The shape of a published model ("qwen3-4b") or a small one for tests ("qwen3-tiny"). kNotFound with all names.
Result<SynthShape> NamedShape(std::string_view name);
std::span<const std::string_view> ShapeNames();

struct SynthOptions {
  std::string output;  // folder: created, or empty, or with `overwrite` an earlier model
  SynthShape shape;
  DType type = DType::kBF16;  // of every tensor: BF16, F16 or F32
  uint64_t seed = 1;
  float deviation = 0.02f;                   // of every weight around its mean (0, for norms 1)
  int threads = 0;                           // 0: one for each physical core that this process may use
  uint64_t max_shard_bytes = 4'500'000'000;  // of tensor data; a larger model is split at tensors, and indexed
  std::string tokenizer_from;                // folder whose tokenizer files are copied; empty: bytes and ChatML tokens
  bool overwrite = false;                    // replace the model files in a folder that is not empty
};

// Writes config.json, generation_config.json, tokenizer files and safetensors. Matrices and biases are about normal
// with the standard deviation asked for (0.02 keeps logits of ordinary size at true shapes), norms are 1 plus that. The
// weights depend on shape, type, seed and deviation only. An interrupted run leaves no config.json, so that no half
// model can be opened. `progress` is called on the calling thread after every slice. Errors: kInvalidArgument (shape,
// type, folder not empty, tokenizer larger than the vocabulary), kResourceExhausted (disk).
Status Synth(const SynthOptions& options, FunctionRef<void(const Progress&)> progress);

}  // namespace inkstone

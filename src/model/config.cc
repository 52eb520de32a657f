#include "model/config.h"

#include <cmath>
#include <cstdio>

#include "model/key_bias.h"
#include "model/rope.h"
#include "quant/codec.h"

namespace inkstone {
namespace {

// Largest values that any real model comes near; they keep products of two within int64.
constexpr int64_t kMaxDimension = int64_t{1} << 24;
constexpr int64_t kMaxLayers = 1024;
// Rounding keys to 8 bits then costs at most twice what it costs without a bias (docs/SERVING.md has the figures).
constexpr double kMostKeyBiasRatio = 1;

class ConfigReader {
 public:
  ConfigReader(const Checkpoint& checkpoint, std::string architecture)
      : meta_(checkpoint.metadata()), prefix_(std::move(architecture) + ".") {}

  Status Dimension(const char* key, int* out, int64_t max = kMaxDimension) const {
    INK_ASSIGN_OR_RETURN(const int64_t value, meta_.GetInt(prefix_ + key));
    return Store(key, value, max, out);
  }
  Status DimensionOr(const char* key, int64_t fallback, int* out) const {
    INK_ASSIGN_OR_RETURN(const int64_t value, meta_.GetIntOr(prefix_ + key, fallback));
    return Store(key, value, kMaxDimension, out);
  }
  Status PositiveOr(const char* key, double fallback, double* out) const {
    INK_ASSIGN_OR_RETURN(*out, meta_.GetFloatOr(prefix_ + key, fallback));
    if (!(*out > 0) || !std::isfinite(*out)) return Bad(key, "a positive number", std::to_string(*out));
    return Status::Ok();
  }
  Status Bad(const std::string& key, const std::string& expected, const std::string& found) const {
    return DataLoss(meta_.source() + ": '" + prefix_ + key + "': expected " + expected + ", found " + found);
  }
  const Metadata& meta() const { return meta_; }
  const std::string& prefix() const { return prefix_; }

 private:
  Status Store(const char* key, int64_t value, int64_t max, int* out) const {
    if (value < 1 || value > max) return Bad(key, "1 to " + std::to_string(max), std::to_string(value));
    *out = static_cast<int>(value);
    return Status::Ok();
  }

  const Metadata& meta_;
  std::string prefix_;
};

Status ReadRopeScaling(const ConfigReader& in, RopeConfig* rope) {
  INK_ASSIGN_OR_RETURN(const std::string_view type, in.meta().GetStringOr(in.prefix() + "rope.scaling.type", "none"));
  if (type == "none") return Status::Ok();
  if (type == "linear") return in.PositiveOr("rope.scaling.factor", 1.0, &rope->linear_factor);
  if (type != "yarn") return in.Bad("rope.scaling.type", "none, linear or yarn", "'" + std::string(type) + "'");
  INK_RETURN_IF_ERROR(in.PositiveOr("rope.scaling.factor", 1.0, &rope->yarn_factor));
  INK_RETURN_IF_ERROR(in.PositiveOr("rope.scaling.yarn_beta_fast", rope->yarn_beta_fast, &rope->yarn_beta_fast));
  INK_RETURN_IF_ERROR(in.PositiveOr("rope.scaling.yarn_beta_slow", rope->yarn_beta_slow, &rope->yarn_beta_slow));
  INK_RETURN_IF_ERROR(in.PositiveOr("rope.scaling.attn_factor", 1.0, &rope->yarn_attention_factor));
  INK_ASSIGN_OR_RETURN(rope->yarn_original_context,
                       in.meta().GetFloatOr(in.prefix() + "rope.scaling.original_context_length", 0.0));
  if (!(rope->yarn_original_context > 0))
    return in.Bad("rope.scaling.original_context_length", "a positive number", "none");
  return Status::Ok();
}

// Divisors of the frequencies: a tensor in GGUF, Llama 3's four numbers in a Hugging Face config.
Status ReadFrequencyFactors(const Checkpoint& checkpoint, RopeConfig* rope) {
  if (const TensorInfo* tensor = checkpoint.Find("rope_freqs.weight")) {
    if (tensor->shape != std::vector<int64_t>{rope->head_dim / 2}) {
      return DataLoss(checkpoint.path() + ": tensor 'rope_freqs.weight': expected " +
                      std::to_string(rope->head_dim / 2) + " values, found " + std::to_string(tensor->cols()));
    }
    rope->frequency_factors.resize(static_cast<size_t>(rope->head_dim / 2));
    DecodeRow(tensor->dtype, checkpoint.Data(*tensor).data(), rope->head_dim / 2, rope->frequency_factors.data());
    return Status::Ok();
  }
  const Metadata& meta = checkpoint.metadata();
  const std::string prefix = "inkstone.rope.llama3.";
  if (meta.Find(prefix + "factor") == nullptr) return Status::Ok();
  Llama3Scaling scaling;
  INK_ASSIGN_OR_RETURN(scaling.factor, meta.GetFloat(prefix + "factor"));
  INK_ASSIGN_OR_RETURN(scaling.low_freq_factor, meta.GetFloat(prefix + "low_freq_factor"));
  INK_ASSIGN_OR_RETURN(scaling.high_freq_factor, meta.GetFloat(prefix + "high_freq_factor"));
  INK_ASSIGN_OR_RETURN(scaling.original_context, meta.GetFloat(prefix + "original_context_length"));
  rope->frequency_factors = Llama3FrequencyFactors(scaling, rope->theta, rope->head_dim);
  return Status::Ok();
}

}  // namespace

KvTypes ModelConfig::DefaultKvTypes() const {
  if (!KvTypeFits(DType::kQ8_0, head_dim)) return {DType::kF16, DType::kF16};
  return {KeyTypeTrouble(DType::kQ8_0).empty() ? DType::kQ8_0 : DType::kF16, DType::kQ8_0};
}

std::string ModelConfig::KeyTypeTrouble(DType type) const {
  if (IsFloat(type) || key_bias_ratio <= kMostKeyBiasRatio) return "";
  char text[160];
  std::snprintf(text, sizeof text,
                "the key biases hold %.3g times the energy of the keys' content, which %s rounds away", key_bias_ratio,
                std::string(Info(type).name).c_str());
  return text;
}

Result<KvLayout> ModelConfig::KvLayoutFor(KvTypes types) const {
  for (const DType type : {types.k, types.v}) {
    const std::string type_name(Info(type).name);
    if (!IsKvType(type)) return InvalidArgument("the KV cache can be F32, F16, Q8_0 or Q4_0, found " + type_name);
    if (KvTypeFits(type, head_dim)) continue;
    return InvalidArgument("a KV cache in " + type_name + " needs heads of a multiple of " + std::to_string(kKvGroup) +
                           " dimensions, found " + std::to_string(head_dim) + "; use F16");
  }
  return KvLayout{layers, kv_heads, head_dim, types};
}

Result<ModelConfig> ReadDecoderConfig(const Checkpoint& checkpoint, const std::string& architecture) {
  const ConfigReader in(checkpoint, architecture);
  ModelConfig c;
  c.architecture = architecture;
  INK_ASSIGN_OR_RETURN(const std::string_view name, in.meta().GetStringOr("general.name", ""));
  c.name = name;
  INK_RETURN_IF_ERROR(in.Dimension("block_count", &c.layers, kMaxLayers));
  INK_RETURN_IF_ERROR(in.Dimension("embedding_length", &c.hidden));
  INK_RETURN_IF_ERROR(in.Dimension("feed_forward_length", &c.intermediate));
  INK_RETURN_IF_ERROR(in.Dimension("attention.head_count", &c.heads));
  INK_RETURN_IF_ERROR(in.DimensionOr("attention.head_count_kv", c.heads, &c.kv_heads));
  INK_RETURN_IF_ERROR(in.DimensionOr("attention.key_length", c.hidden / c.heads, &c.head_dim));
  int value_length = 0;
  INK_RETURN_IF_ERROR(in.DimensionOr("attention.value_length", c.head_dim, &value_length));
  int rotated = 0;
  INK_RETURN_IF_ERROR(in.DimensionOr("rope.dimension_count", c.head_dim, &rotated));
  if (c.heads % c.kv_heads != 0) {
    return in.Bad("attention.head_count_kv", "a divisor of " + std::to_string(c.heads), std::to_string(c.kv_heads));
  }
  if (c.head_dim % 2 != 0) return in.Bad("attention.key_length", "an even number", std::to_string(c.head_dim));
  if (value_length != c.head_dim) {
    return in.Bad("attention.value_length", "the key length " + std::to_string(c.head_dim),
                  std::to_string(value_length));
  }
  if (rotated != c.head_dim) {
    return in.Bad("rope.dimension_count", "the head dimension " + std::to_string(c.head_dim), std::to_string(rotated));
  }
  int context = 0;
  INK_RETURN_IF_ERROR(in.Dimension("context_length", &context, int64_t{1} << 30));
  c.context = context;
  double eps = 0;
  INK_RETURN_IF_ERROR(in.PositiveOr("attention.layer_norm_rms_epsilon", 1e-6, &eps));
  c.rms_eps = static_cast<float>(eps);
  INK_ASSIGN_OR_RETURN(const TensorInfo* embedding, checkpoint.Require("token_embd.weight"));
  if (embedding->shape.size() != 2 || embedding->rows() > kMaxDimension || embedding->cols() != c.hidden) {
    return DataLoss(checkpoint.path() + ": tensor 'token_embd.weight': expected a matrix with " +
                    std::to_string(c.hidden) + " columns, found " + std::to_string(embedding->cols()));
  }
  c.vocab = static_cast<int>(embedding->rows());
  c.rope.head_dim = c.head_dim;
  INK_RETURN_IF_ERROR(in.PositiveOr("rope.freq_base", 10000.0, &c.rope.theta));
  INK_RETURN_IF_ERROR(ReadRopeScaling(in, &c.rope));
  INK_RETURN_IF_ERROR(ReadFrequencyFactors(checkpoint, &c.rope));
  INK_ASSIGN_OR_RETURN(c.key_bias_ratio, KeyBiasRatio(checkpoint, c));
  return c;
}

}  // namespace inkstone

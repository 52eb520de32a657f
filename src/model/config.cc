#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <span>

#include "model/key_bias.h"
#include "model/rope_config.h"

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
    INK_ASSIGN_OR_RETURN(const int64_t value, Uniform(key));
    return Store(key, value, max, out);
  }
  Status DimensionOr(const char* key, int64_t fallback, int* out) const {
    const bool given = meta_.Find(prefix_ + key) != nullptr;
    INK_ASSIGN_OR_RETURN(const int64_t value, given ? Uniform(key) : Result<int64_t>(fallback));
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
  // An integer, or a list that has the same one for every layer.
  Result<int64_t> Uniform(const char* key) const {
    const Result<std::span<const int64_t>> list = meta_.GetInts(prefix_ + key);
    if (!list.ok()) return meta_.GetInt(prefix_ + key);
    const auto other = std::adjacent_find(list->begin(), list->end(), std::not_equal_to<>());
    if (!list->empty() && other == list->end()) return list->front();
    return Unimplemented(
        meta_.source() + ": '" + prefix_ + key + "': expected the same number for every layer, found " +
        (list->empty() ? "an empty list" : std::to_string(other[0]) + " and " + std::to_string(other[1])));
  }
  Status Store(const char* key, int64_t value, int64_t max, int* out) const {
    if (value < 1 || value > max) return Bad(key, "1 to " + std::to_string(max), std::to_string(value));
    *out = static_cast<int>(value);
    return Status::Ok();
  }

  const Metadata& meta_;
  std::string prefix_;
};

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
  INK_RETURN_IF_ERROR(ReadRope(checkpoint, &c));
  INK_ASSIGN_OR_RETURN(c.key_bias_ratio, KeyBiasRatio(checkpoint, c));
  return c;
}

}  // namespace inkstone

// config.json and generation_config.json to metadata.
#include <algorithm>
#include <limits>
#include <utility>

#include "formats/hf_folder.h"
#include "formats/hf_generation.h"
#include "formats/hf_rope.h"
#include "formats/json_fields.h"
#include "formats/tensor_layout.h"

namespace inkstone {
namespace {

namespace json = boost::json;

constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxWidth = 1 << 20;  // hidden and feed-forward sizes
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 4096;
constexpr int64_t kMaxContext = 1 << 30;
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kQwen3HeadDim = 128;  // transformers' default where config.json does not say

Status Unsupported(const JsonFields& fields, std::string_view key, const std::string& expected) {
  return Unimplemented(fields.Wrong(key, expected).message());
}

// Features of config.json that would change the numbers and that this program does not compute.
Status CheckKind(const JsonFields& fields) {
  for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts"}) {
    INK_ASSIGN_OR_RETURN(const int64_t experts, fields.IntOr(key, 0, 0, std::numeric_limits<int64_t>::max()));
    if (experts > 0) return Unsupported(fields, key, "a dense model");
  }
  INK_ASSIGN_OR_RETURN(const std::string activation, fields.StringOr("hidden_act", "silu"));
  if (activation != "silu") return Unsupported(fields, "hidden_act", "\"silu\"");
  INK_ASSIGN_OR_RETURN(const bool mlp_bias, fields.BoolOr("mlp_bias", false));
  if (mlp_bias) return Unsupported(fields, "mlp_bias", "false");
  INK_ASSIGN_OR_RETURN(const double rotary, fields.NumberOr("partial_rotary_factor", 1.0, 0.0, 1.0));
  if (rotary != 1.0) return Unsupported(fields, "partial_rotary_factor", "1");
  if (fields.Has("quantization_config")) {
    return Unsupported(fields, "quantization_config", "a model in 32 or 16 bits, without this field");
  }
  return Status::Ok();
}

// Sliding windows: layer_types decides where it exists (transformers 4.53 and later); before, layers from
// max_window_layers on have a window when use_sliding_window is set.
Status CheckWindows(const JsonFields& fields, int64_t layers) {
  if (const json::value* types = fields.Find("layer_types"); types != nullptr) {
    if (!types->is_array()) return fields.Wrong("layer_types", "an array of strings");
    for (const json::value& type : types->get_array()) {
      if (!type.is_string() || type.get_string() != "full_attention") {
        return Unimplemented(fields.Wrong("layer_types", "\"full_attention\" for every layer").message() + " with " +
                             DescribeJson(&type));
      }
    }
    return Status::Ok();
  }
  INK_ASSIGN_OR_RETURN(const bool sliding, fields.BoolOr("use_sliding_window", false));
  INK_ASSIGN_OR_RETURN(const int64_t first, fields.IntOr("max_window_layers", 0, 0, kMaxContext));
  if (sliding && fields.Has("sliding_window") && first < layers) {
    return Unsupported(fields, "use_sliding_window", "false: every layer attends to the whole context");
  }
  return Status::Ok();
}

// An integer, or a list that has the same one for every layer.
Result<int64_t> UniformInt(const JsonFields& fields, std::string_view key, int64_t max) {
  const json::value* value = fields.Find(key);
  if (value == nullptr || !value->is_array()) return fields.Int(key, 1, max);
  const json::array& list = value->get_array();
  const bool uniform =
      !list.empty() && std::all_of(list.begin(), list.end(), [&](const json::value& item) { return item == list[0]; });
  if (!uniform) return Unsupported(fields, key, "the same number for every layer");
  const json::object one = {{key, list[0]}};
  return JsonFields(one, fields.source()).Int(key, 1, max);
}

Status SetAttention(const JsonFields& fields, const std::string& arch, int64_t hidden, Metadata* metadata) {
  INK_ASSIGN_OR_RETURN(const int64_t heads, UniformInt(fields, "num_attention_heads", kMaxHeads));
  int64_t kv_heads = heads;
  if (fields.Has("num_key_value_heads")) {
    INK_ASSIGN_OR_RETURN(kv_heads, UniformInt(fields, "num_key_value_heads", kMaxHeads));
  }
  if (heads % kv_heads != 0) {
    return fields.Wrong("num_key_value_heads", "a divisor of num_attention_heads (" + std::to_string(heads) + ")");
  }
  int64_t head_dim = arch == "qwen3" ? kQwen3HeadDim : hidden / heads;
  if (fields.Has("head_dim")) {
    INK_ASSIGN_OR_RETURN(head_dim, fields.Int("head_dim", 2, kMaxHeadDim));
    if (head_dim % 2 != 0) return fields.Wrong("head_dim", "an even number");
  } else if (arch != "qwen3" && (hidden % heads != 0 || head_dim % 2 != 0 || head_dim > kMaxHeadDim)) {
    return fields.Wrong("hidden_size", "an even multiple of num_attention_heads (" + std::to_string(heads) +
                                           ") where head_dim is not given");
  }
  INK_ASSIGN_OR_RETURN(const double epsilon, fields.NumberOr("rms_norm_eps", 1e-6, 1e-20, 0.1));
  const std::string key = arch + ".attention.";
  metadata->SetU32(key + "head_count", static_cast<uint32_t>(heads));
  metadata->SetU32(key + "head_count_kv", static_cast<uint32_t>(kv_heads));
  metadata->SetU32(key + "key_length", static_cast<uint32_t>(head_dim));
  metadata->SetU32(key + "value_length", static_cast<uint32_t>(head_dim));
  metadata->SetF32(key + "layer_norm_rms_epsilon", static_cast<float>(epsilon));
  if (arch == "llama") metadata->SetU32(arch + ".rope.dimension_count", static_cast<uint32_t>(head_dim));
  return Status::Ok();
}

}  // namespace

Result<HfConfig> ParseHfConfig(const HfConfigText& text, const std::string& folder, const std::string& model_name) {
  const std::string file = folder + "/config.json";
  INK_ASSIGN_OR_RETURN(const json::object root, ParseJsonObject(text.config, file));
  const JsonFields fields(root, file);
  INK_ASSIGN_OR_RETURN(const std::string arch, fields.String("model_type"));
  if (arch != "qwen3" && arch != "qwen2" && arch != "llama") {
    return Unsupported(fields, "model_type", "\"qwen3\", \"qwen2\" or \"llama\"");
  }
  INK_RETURN_IF_ERROR(CheckKind(fields));
  HfConfig config;
  config.metadata = Metadata(file);
  INK_ASSIGN_OR_RETURN(config.layers, fields.Int("num_hidden_layers", 1, kMaxLayers));
  INK_ASSIGN_OR_RETURN(config.tied_output, fields.BoolOr("tie_word_embeddings", false));
  INK_RETURN_IF_ERROR(CheckWindows(fields, config.layers));
  INK_ASSIGN_OR_RETURN(const int64_t context, fields.Int("max_position_embeddings", 1, kMaxContext));
  INK_ASSIGN_OR_RETURN(const int64_t hidden, fields.Int("hidden_size", 1, kMaxWidth));
  INK_ASSIGN_OR_RETURN(const int64_t feed_forward, UniformInt(fields, "intermediate_size", kMaxWidth));
  INK_ASSIGN_OR_RETURN(const int64_t vocab, fields.Int("vocab_size", 1, kMaxVocab));

  Metadata& metadata = config.metadata;
  metadata.SetString("general.architecture", arch);
  metadata.SetString("general.name", model_name);
  metadata.SetU32(arch + ".block_count", static_cast<uint32_t>(config.layers));
  metadata.SetU32(arch + ".context_length", static_cast<uint32_t>(context));
  metadata.SetU32(arch + ".embedding_length", static_cast<uint32_t>(hidden));
  metadata.SetU32(arch + ".feed_forward_length", static_cast<uint32_t>(feed_forward));
  metadata.SetU32(arch + ".vocab_size", static_cast<uint32_t>(vocab));
  INK_RETURN_IF_ERROR(SetAttention(fields, arch, hidden, &metadata));
  INK_RETURN_IF_ERROR(SetRope({fields, file, arch, context}, &metadata, &config.warnings));
  if (!text.generation.empty()) {
    INK_RETURN_IF_ERROR(SetSampling(text.generation, folder + "/generation_config.json", &metadata, &config.warnings));
  }
  return config;
}

}  // namespace inkstone

#include "formats/hf_rope.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string_view>

namespace inkstone {
namespace {

namespace json = boost::json;

constexpr int64_t kMaxContext = 1 << 30;
constexpr double kMaxTheta = 1e15;
constexpr std::string_view kOriginal = "original_max_position_embeddings";

Status Unsupported(const JsonFields& fields, std::string_view key, const std::string& expected) {
  return Unimplemented(fields.Wrong(key, expected).message());
}

// The object with the scaling's numbers, which may be missing, and the base of the frequencies.
struct RopeSource {
  const json::object* scaling = nullptr;
  std::string prefix;
  double theta = 0.0;
};

// transformers 5 may hold one object for each kind of layer. All layers of the models that are read here are of the
// kind "full_attention", so the objects of other kinds describe no layer.
Status EnterLayerKind(const std::string& file, RopeSource* rope) {
  const JsonFields outer(*rope->scaling, file, rope->prefix);
  const json::value* full = outer.Find("full_attention");
  const bool nested = full != nullptr || outer.Has("sliding_attention") || outer.Has("chunked_attention");
  if (!nested) return Status::Ok();
  for (const auto& item : *rope->scaling) {
    const std::string_view key(item.key().data(), item.key().size());
    if (key == "rope_theta" || item.value().is_object() || item.value().is_null()) continue;
    return Unsupported(outer, key, "nothing beside one object for each kind of layer");
  }
  if (full == nullptr || !full->is_object()) return Unsupported(outer, "full_attention", "an object");
  INK_ASSIGN_OR_RETURN(rope->theta, outer.NumberOr("rope_theta", rope->theta, 1.0, kMaxTheta));
  rope->scaling = &full->get_object();
  rope->prefix += "full_attention.";
  return Status::Ok();
}

Result<RopeSource> FindRope(const HfRopeInput& in) {
  RopeSource rope;
  INK_ASSIGN_OR_RETURN(rope.theta, in.config.NumberOr("rope_theta", 10000.0, 1.0, kMaxTheta));
  INK_ASSIGN_OR_RETURN(const json::object* parameters, in.config.ObjectOrNull("rope_parameters"));
  INK_ASSIGN_OR_RETURN(const json::object* scaling, in.config.ObjectOrNull("rope_scaling"));
  if (parameters != nullptr && scaling != nullptr && !scaling->empty() && *parameters != *scaling) {
    return Unsupported(in.config, "rope_scaling", "nothing beside rope_parameters, which says something else");
  }
  rope.scaling = parameters != nullptr ? parameters : scaling;
  rope.prefix = parameters != nullptr ? "rope_parameters." : "rope_scaling.";
  if (rope.scaling == nullptr) return rope;
  INK_RETURN_IF_ERROR(EnterLayerKind(in.file, &rope));
  const JsonFields fields(*rope.scaling, in.file, rope.prefix);
  INK_ASSIGN_OR_RETURN(rope.theta, fields.NumberOr("rope_theta", rope.theta, 1.0, kMaxTheta));
  return rope;
}

struct RopeType {
  std::string_view name;
  std::span<const std::string_view> keys;  // that its formula uses
};

constexpr std::array<std::string_view, 1> kLinearKeys = {"factor"};
constexpr std::array<std::string_view, 8> kYarnKeys = {"factor",    "attention_factor", "attn_factor",    "beta_fast",
                                                       "beta_slow", "mscale",           "mscale_all_dim", "truncate"};
constexpr std::array<std::string_view, 3> kLlama3Keys = {"factor", "low_freq_factor", "high_freq_factor"};
constexpr std::array<RopeType, 4> kTypes = {
    {{"default", {}}, {"linear", kLinearKeys}, {"yarn", kYarnKeys}, {"llama3", kLlama3Keys}}};
// Of every type: they name the type or the training, or are checked apart.
constexpr std::array<std::string_view, 7> kCommonKeys = {
    "type", "rope_type", "rope_theta", "partial_rotary_factor", kOriginal, "finetuned", "extrapolation_factor"};

bool Contains(std::span<const std::string_view> keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// transformers reads a field that belongs to another rope_type but leaves it unused; a name that no type has may mean
// anything.
Status CheckKeys(const JsonFields& fields, const json::object& object, const RopeType& type,
                 std::vector<std::string>* warnings) {
  for (const auto& item : object) {
    const std::string_view key(item.key().data(), item.key().size());
    if (item.value().is_null() || Contains(kCommonKeys, key) || Contains(type.keys, key)) continue;
    const bool elsewhere =
        key != "attn_factor" &&
        std::any_of(kTypes.begin(), kTypes.end(), [&](const RopeType& other) { return Contains(other.keys, key); });
    const std::string problem =
        fields.Wrong(key, "no such field with rope_type \"" + std::string(type.name) + "\"").message();
    if (!elsewhere) return Unimplemented(problem);
    warnings->push_back(problem + "; it is not used");
  }
  INK_ASSIGN_OR_RETURN(const double rotary, fields.NumberOr("partial_rotary_factor", 1.0, 0.0, 1.0));
  if (rotary != 1.0) return Unsupported(fields, "partial_rotary_factor", "1");
  INK_ASSIGN_OR_RETURN(const double extrapolation, fields.NumberOr("extrapolation_factor", 1.0, -1e6, 1e6));
  if (extrapolation != 1.0) return Unsupported(fields, "extrapolation_factor", "1");
  return Status::Ok();
}

// The positions of the training before its extension; outside the RoPE object it counts more, as in transformers.
Result<int64_t> OriginalContext(const HfRopeInput& in, const JsonFields& fields, std::vector<std::string>* warnings) {
  if (in.config.Has(kOriginal)) return in.config.Int(kOriginal, 1, kMaxContext);
  if (fields.Has(kOriginal)) return fields.Int(kOriginal, 1, kMaxContext);
  warnings->push_back(fields.Wrong(kOriginal, "the positions before the extension").message() +
                      "; max_position_embeddings (" + std::to_string(in.context) + ") is taken");
  return in.context;
}

Status SetLlama3(const JsonFields& fields, int64_t original, Metadata* metadata) {
  INK_ASSIGN_OR_RETURN(const double factor, fields.Number("factor", 1.0, 1e6));
  INK_ASSIGN_OR_RETURN(const double low, fields.Number("low_freq_factor", 1e-6, 1e6));
  INK_ASSIGN_OR_RETURN(const double high, fields.Number("high_freq_factor", 1e-6, 1e6));
  if (high <= low) return fields.Wrong("high_freq_factor", "a number above low_freq_factor");
  const std::string prefix = "inkstone.rope.llama3.";
  metadata->SetF32(prefix + "factor", static_cast<float>(factor));
  metadata->SetF32(prefix + "low_freq_factor", static_cast<float>(low));
  metadata->SetF32(prefix + "high_freq_factor", static_cast<float>(high));
  metadata->SetU32(prefix + "original_context_length", static_cast<uint32_t>(original));
  return Status::Ok();
}

// YaRN's usual factor of cos and sin, with `scale` on its logarithm.
double Mscale(double factor, double scale) { return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0; }

// The factor of cos and sin over the usual one, which is what GGUF holds.
Result<double> AttentionOverUsual(const JsonFields& fields, double factor) {
  INK_ASSIGN_OR_RETURN(const double attn, fields.NumberOr("attn_factor", 1.0, 1e-3, 1e3));
  INK_ASSIGN_OR_RETURN(const double mscale, fields.NumberOr("mscale", 0.0, 0.0, 1e3));
  INK_ASSIGN_OR_RETURN(const double mscale_all, fields.NumberOr("mscale_all_dim", 0.0, 0.0, 1e3));
  const bool both = mscale != 0 && mscale_all != 0;  // transformers uses neither alone
  if (fields.Has("attn_factor") && (both || fields.Has("attention_factor"))) {
    return Unsupported(fields, "attn_factor", "nothing beside attention_factor or mscale, which give the same number");
  }
  const double usual = Mscale(factor, 1.0);
  if (fields.Has("attention_factor")) {
    INK_ASSIGN_OR_RETURN(const double attention, fields.Number("attention_factor", 1e-3, 1e3));
    return attention / usual;
  }
  return both ? Mscale(factor, mscale) / Mscale(factor, mscale_all) / usual : attn;
}

Status SetYarn(const JsonFields& fields, double factor, const std::string& key, Metadata* metadata) {
  INK_ASSIGN_OR_RETURN(const double attention, AttentionOverUsual(fields, factor));
  if (attention != 1.0) metadata->SetF32(key + "attn_factor", static_cast<float>(attention));
  for (const char* beta : {"beta_fast", "beta_slow"}) {
    INK_ASSIGN_OR_RETURN(const double value, fields.NumberOr(beta, 0.0, 0.0, 1e3));
    if (value == 0) continue;  // the default, as in transformers
    metadata->SetF32(key + "yarn_" + beta, static_cast<float>(value));
  }
  INK_ASSIGN_OR_RETURN(const bool truncate, fields.BoolOr("truncate", true));
  if (!truncate) metadata->SetBool("inkstone.rope.yarn_truncate", false);
  return Status::Ok();
}

Status SetScaled(const HfRopeInput& in, const JsonFields& fields, std::string_view type, int64_t original,
                 Metadata* metadata) {
  const std::string key = in.arch + ".rope.scaling.";
  double factor = 0;
  if (type == "yarn" && !fields.Has("factor")) {
    factor = static_cast<double>(in.context) / static_cast<double>(original);
    if (factor < 1) return fields.Wrong("factor", "a number of at least 1");
  } else {
    INK_ASSIGN_OR_RETURN(factor, fields.Number("factor", 1.0, 1e6));
  }
  metadata->SetString(key + "type", type);
  metadata->SetF32(key + "factor", static_cast<float>(factor));
  metadata->SetU32(key + "original_context_length", static_cast<uint32_t>(original));
  return type == "yarn" ? SetYarn(fields, factor, key, metadata) : Status::Ok();
}

}  // namespace

Status SetRope(const HfRopeInput& in, Metadata* metadata, std::vector<std::string>* warnings) {
  INK_ASSIGN_OR_RETURN(const RopeSource rope, FindRope(in));
  metadata->SetF32(in.arch + ".rope.freq_base", static_cast<float>(rope.theta));
  if (rope.scaling == nullptr) return Status::Ok();
  const JsonFields fields(*rope.scaling, in.file, rope.prefix);
  const char* type_key = fields.Has("rope_type") ? "rope_type" : "type";
  INK_ASSIGN_OR_RETURN(const std::string name, fields.StringOr(type_key, "default"));
  const auto type = std::find_if(kTypes.begin(), kTypes.end(), [&](const RopeType& t) { return t.name == name; });
  if (type == kTypes.end()) return Unsupported(fields, type_key, "\"default\", \"linear\", \"yarn\" or \"llama3\"");
  INK_RETURN_IF_ERROR(CheckKeys(fields, *rope.scaling, *type, warnings));
  if (name == "default") return Status::Ok();
  if (name == "linear") return SetScaled(in, fields, name, in.context, metadata);
  INK_ASSIGN_OR_RETURN(const int64_t original, OriginalContext(in, fields, warnings));
  return name == "llama3" ? SetLlama3(fields, original, metadata) : SetScaled(in, fields, name, original, metadata);
}

}  // namespace inkstone

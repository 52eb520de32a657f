#include "model/rope_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

#include "model/rope.h"
#include "quant/codec.h"

namespace inkstone {
namespace {

constexpr int64_t kMaxContext = int64_t{1} << 30;

constexpr std::array<std::string_view, 13> kKnownKeys = {
    "dimension_count",
    "freq_base",
    "scale_linear",
    "scaling.type",
    "scaling.factor",
    "scaling.original_context_length",
    "scaling.finetuned",  // says how the model was made
    "scaling.attn_factor",
    "scaling.yarn_log_multiplier",
    "scaling.yarn_ext_factor",
    "scaling.yarn_attn_factor",
    "scaling.yarn_beta_fast",
    "scaling.yarn_beta_slow",
};

class RopeReader {
 public:
  RopeReader(const Checkpoint& checkpoint, ModelConfig* config)
      : checkpoint_(checkpoint),
        meta_(checkpoint.metadata()),
        prefix_(config->architecture + ".rope."),
        config_(*config),
        rope_(config->rope) {}

  Status Read() {
    INK_RETURN_IF_ERROR(CheckKeys());
    INK_ASSIGN_OR_RETURN(rope_.theta, PositiveOr("freq_base", rope_.theta));
    INK_ASSIGN_OR_RETURN(const std::string_view type, meta_.GetStringOr(prefix_ + "scaling.type", "linear"));
    if (type != "none" && type != "linear" && type != "yarn") {
      return Unsupported("scaling.type", "none, linear or yarn", "'" + std::string(type) + "'");
    }
    INK_RETURN_IF_ERROR(Scaling(type));
    return FrequencyFactors();
  }

 private:
  Status Bad(std::string_view key, const std::string& expected, const std::string& found) const {
    return DataLoss(meta_.source() + ": '" + prefix_ + std::string(key) + "': expected " + expected + ", found " +
                    found);
  }
  Status Unsupported(std::string_view key, const std::string& expected, const std::string& found) const {
    return Unimplemented(Bad(key, expected, found).message());
  }

  Result<double> Finite(std::string_view key, double fallback) const {
    INK_ASSIGN_OR_RETURN(const double value, meta_.GetFloatOr(prefix_ + std::string(key), fallback));
    if (!std::isfinite(value)) return Bad(key, "a finite number", std::to_string(value));
    return value;
  }
  Result<double> PositiveOr(std::string_view key, double fallback) const {
    INK_ASSIGN_OR_RETURN(const double value, Finite(key, fallback));
    if (!(value > 0)) return Bad(key, "a positive number", std::to_string(value));
    return value;
  }
  // llama.cpp takes a negative number for one that is not set.
  Result<double> SetOr(std::string_view key, double fallback) const {
    INK_ASSIGN_OR_RETURN(const double value, Finite(key, -1.0));
    return value < 0 ? fallback : value;
  }

  Status CheckKeys() const {
    for (const Metadata::Entry& entry : meta_.entries()) {
      if (!entry.key.starts_with(prefix_)) continue;
      const std::string_view key = entry.key.substr(prefix_.size());
      if (std::find(kKnownKeys.begin(), kKnownKeys.end(), key) == kKnownKeys.end()) {
        return Unsupported(key, "no such key", "one that this program does not know");
      }
    }
    for (const char* name : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
      if (checkpoint_.Find(name) != nullptr) {
        return Unimplemented(checkpoint_.path() + ": tensor '" + name + "': expected no LongRoPE, found its factors");
      }
    }
    return Status::Ok();
  }

  // The factor of the context, under its name of today or its old one; 0 stands for none.
  Result<double> Factor() const {
    const bool now = meta_.Find(prefix_ + "scaling.factor") != nullptr;
    const char* key = now ? "scaling.factor" : "scale_linear";
    INK_ASSIGN_OR_RETURN(const double factor, Finite(key, 0.0));
    if (factor == 0) return 1.0;
    if (factor < 1e-6 || factor > 1e6) return Bad(key, "a number from 1e-6 to 1e6", std::to_string(factor));
    return factor;
  }

  Status Scaling(std::string_view type) {
    INK_ASSIGN_OR_RETURN(const double factor, Factor());
    INK_ASSIGN_OR_RETURN(rope_.attention_factor, PositiveOr("scaling.attn_factor", 1.0));
    const double usual_mix = type == "yarn" ? 1.0 : 0.0;
    INK_RETURN_IF_ERROR(Neutral("scaling.yarn_ext_factor", usual_mix));
    INK_RETURN_IF_ERROR(Neutral("scaling.yarn_attn_factor", 1.0));
    INK_RETURN_IF_ERROR(Neutral("scaling.yarn_log_multiplier", 0.0));
    if (type == "linear") rope_.linear_factor = factor;
    return type == "yarn" ? Yarn(factor) : Status::Ok();
  }

  // Refuses any other value than the one that changes nothing.
  Status Neutral(std::string_view key, double neutral) const {
    INK_ASSIGN_OR_RETURN(const double value, SetOr(key, neutral));
    if (value == neutral) return Status::Ok();
    return Unsupported(key, std::to_string(neutral), std::to_string(value));
  }

  Status Yarn(double factor) {
    rope_.yarn_factor = factor;
    INK_ASSIGN_OR_RETURN(rope_.yarn_beta_fast, SetOr("scaling.yarn_beta_fast", rope_.yarn_beta_fast));
    INK_ASSIGN_OR_RETURN(rope_.yarn_beta_slow, SetOr("scaling.yarn_beta_slow", rope_.yarn_beta_slow));
    if (rope_.yarn_beta_fast == 0 || rope_.yarn_beta_slow == 0) {
      return Bad("scaling.yarn_beta_{fast,slow}", "positive numbers", "0");
    }
    INK_ASSIGN_OR_RETURN(rope_.yarn_truncate, meta_.GetBoolOr("inkstone.rope.yarn_truncate", true));
    const char* key = "scaling.original_context_length";
    if (meta_.Find(prefix_ + key) == nullptr) {
      config_.warnings.push_back(meta_.source() + ": '" + prefix_ + key + "': expected for yarn, found no such key; " +
                                 "the context length " + std::to_string(config_.context) + " is taken");
    }
    INK_ASSIGN_OR_RETURN(rope_.yarn_original_context, PositiveOr(key, static_cast<double>(config_.context)));
    const double reach = std::floor(rope_.yarn_original_context * factor);
    if (reach > static_cast<double>(config_.context)) {
      config_.context = static_cast<int64_t>(std::min(reach, static_cast<double>(kMaxContext)));
    }
    return Status::Ok();
  }

  // Divisors of the frequencies: a tensor in GGUF, Llama 3's four numbers in a Hugging Face config.
  Status FrequencyFactors() {
    if (const TensorInfo* tensor = checkpoint_.Find("rope_freqs.weight")) return TensorFactors(*tensor);
    const std::string prefix = "inkstone.rope.llama3.";
    if (meta_.Find(prefix + "factor") == nullptr) return Status::Ok();
    Llama3Scaling scaling;
    INK_ASSIGN_OR_RETURN(scaling.factor, meta_.GetFloat(prefix + "factor"));
    INK_ASSIGN_OR_RETURN(scaling.low_freq_factor, meta_.GetFloat(prefix + "low_freq_factor"));
    INK_ASSIGN_OR_RETURN(scaling.high_freq_factor, meta_.GetFloat(prefix + "high_freq_factor"));
    INK_ASSIGN_OR_RETURN(scaling.original_context, meta_.GetFloat(prefix + "original_context_length"));
    rope_.frequency_factors = Llama3FrequencyFactors(scaling, rope_.theta, rope_.head_dim);
    return Status::Ok();
  }

  Status TensorFactors(const TensorInfo& tensor) {
    const int count = rope_.head_dim / 2;
    const std::string where = checkpoint_.path() + ": tensor 'rope_freqs.weight': expected ";
    if (tensor.shape != std::vector<int64_t>{count}) {
      return DataLoss(where + std::to_string(count) + " values, found " + std::to_string(tensor.cols()));
    }
    rope_.frequency_factors.resize(static_cast<size_t>(count));
    DecodeRow(tensor.dtype, checkpoint_.Data(tensor).data(), count, rope_.frequency_factors.data());
    for (const float factor : rope_.frequency_factors) {
      if (!(factor > 0) || !std::isfinite(factor)) return DataLoss(where + "positive numbers, found another");
    }
    return Status::Ok();
  }

  const Checkpoint& checkpoint_;
  const Metadata& meta_;
  std::string prefix_;
  ModelConfig& config_;
  RopeConfig& rope_;
};

}  // namespace

Status ReadRope(const Checkpoint& checkpoint, ModelConfig* config) { return RopeReader(checkpoint, config).Read(); }

}  // namespace inkstone

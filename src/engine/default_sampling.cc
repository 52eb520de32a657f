#include "engine/default_sampling.h"

#include <algorithm>

#include "formats/sampling_keys.h"

namespace inkstone {

namespace {

constexpr std::string_view kPrefix = "general.sampling.";

void Set(std::string_view name, double value, SamplingParams* params) {
  if (name == "temperature") params->temperature = static_cast<float>(value);
  if (name == "top_p") params->top_p = static_cast<float>(value);
  if (name == "min_p") params->min_p = static_cast<float>(value);
  if (name == "repetition_penalty") params->repetition_penalty = static_cast<float>(value);
  if (name == "top_k") params->top_k = static_cast<int>(value);
}

}  // namespace

SamplingParams ReadDefaultSampling(const Metadata& metadata, std::string_view architecture,
                                   std::vector<std::string>* warnings) {
  SamplingParams params;
  const bool any = std::any_of(metadata.entries().begin(), metadata.entries().end(),
                               [](const Metadata::Entry& entry) { return entry.key.starts_with(kPrefix); });
  if (!any) {
    const bool qwen = architecture.starts_with("qwen");
    params.temperature = 0.7f;
    params.top_p = qwen ? 0.8f : 0.95f;
    params.top_k = qwen ? 20 : 40;
    return params;
  }
  for (const SamplingKey& key : SamplingKeys()) {
    const std::string name = std::string(kPrefix).append(key.gguf);
    const MetaValue* found = metadata.Find(name);
    if (found == nullptr) continue;
    const auto value = ReadSampling(key, *found, metadata.source() + ": '" + name + "'", warnings);
    if (value) Set(key.hf, *value, &params);
  }
  return params;
}

}  // namespace inkstone

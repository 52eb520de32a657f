#include "engine/default_sampling.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

namespace inkstone {

namespace {
constexpr std::string_view kPrefix = "general.sampling.";
}  // namespace

Result<SamplingParams> ReadDefaultSampling(const Metadata& metadata, std::string_view architecture) {
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
  const auto read = [&](std::string_view key, float* out) -> Status {
    INK_ASSIGN_OR_RETURN(const double value, metadata.GetFloatOr(std::string(kPrefix).append(key), *out));
    *out = static_cast<float>(value);
    return Status::Ok();
  };
  INK_RETURN_IF_ERROR(read("temp", &params.temperature));
  INK_RETURN_IF_ERROR(read("top_p", &params.top_p));
  INK_RETURN_IF_ERROR(read("min_p", &params.min_p));
  INK_RETURN_IF_ERROR(read("penalty_repeat", &params.repetition_penalty));
  INK_ASSIGN_OR_RETURN(const int64_t top_k, metadata.GetIntOr(std::string(kPrefix) + "top_k", 0));
  params.top_k = static_cast<int>(std::clamp<int64_t>(top_k, 0, std::numeric_limits<int>::max()));
  if (const Status status = params.Validate(0); !status.ok()) {
    return DataLoss(metadata.source() + ": '" + std::string(kPrefix) + "*': " + status.message());
  }
  return params;
}

}  // namespace inkstone

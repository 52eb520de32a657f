// The sampling that a model's makers recommend.
#pragma once

#include <string_view>

#include "core/status.h"
#include "engine/request.h"
#include "formats/metadata.h"

namespace inkstone {

// From the "general.sampling.*" keys (a GGUF's own, or a Hugging Face folder's generation_config.json). A file without
// any gets what Qwen publishes for its models (temperature 0.7, top_p 0.8, top_k 20), or for other architectures
// temperature 0.7, top_p 0.95, top_k 40. kDataLoss / kInvalidArgument when a key has a wrong type or value.
Result<SamplingParams> ReadDefaultSampling(const Metadata& metadata, std::string_view architecture);

}  // namespace inkstone

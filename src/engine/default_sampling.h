// The sampling that a model's makers recommend.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "formats/metadata.h"

namespace inkstone {

// From the "general.sampling.*" keys (a GGUF's own, or a Hugging Face folder's generation_config.json). A file without
// any gets what Qwen publishes for its models (temperature 0.7, top_p 0.8, top_k 20), or for other architectures
// temperature 0.7, top_p 0.95, top_k 40. A key that makes no sense stops nothing: it is named in `warnings`.
SamplingParams ReadDefaultSampling(const Metadata& metadata, std::string_view architecture,
                                   std::vector<std::string>* warnings);

}  // namespace inkstone

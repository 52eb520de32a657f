// generation_config.json of a Hugging Face folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "formats/metadata.h"

namespace inkstone {

// Sets general.sampling.* from a model that samples. Values that make no sense are warnings; kDataLoss only for a text
// that is not JSON.
Status SetSampling(std::string_view text, const std::string& file, Metadata* metadata,
                   std::vector<std::string>* warnings);

}  // namespace inkstone

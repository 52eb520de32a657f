// The sampling that a model's makers recommend: the same few numbers in generation_config.json and in a GGUF.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/metadata.h"

namespace inkstone {

struct SamplingKey {
  std::string_view hf;    // in generation_config.json
  std::string_view gguf;  // in a GGUF, after "general.sampling."
  double lowest;
  double highest;
  double off;  // what has no effect
  bool whole;  // an integer
};
std::span<const SamplingKey> SamplingKeys();

// The number that a file means, or nothing where it cannot mean one that makes sense: a recommendation stops no model.
// Whatever is not plainly a number in range is named in `warnings`, with what is taken; `where` names file and field.
std::optional<double> ReadSampling(const SamplingKey& key, const MetaValue& value, const std::string& where,
                                   std::vector<std::string>* warnings);

}  // namespace inkstone

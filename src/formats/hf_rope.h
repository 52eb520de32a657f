// RoPE of a Hugging Face config.json, translated to GGUF's keys.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "formats/json_fields.h"
#include "formats/metadata.h"

namespace inkstone {

// What the translation knows of the rest of the config.
struct HfRopeInput {
  const JsonFields& config;  // the whole of config.json
  std::string file;
  std::string arch;
  int64_t context;  // max_position_embeddings
};

// Reads rope_theta and rope_scaling (transformers 4) or rope_parameters (transformers 5, also one object for each kind
// of layer) and sets {arch}.rope.*, inkstone.rope.*. A field that would change the numbers is honoured as transformers
// does, or refused by name with kUnimplemented; one that transformers does not use with this rope_type is named in
// `warnings`.
Status SetRope(const HfRopeInput& in, Metadata* metadata, std::vector<std::string>* warnings);

}  // namespace inkstone

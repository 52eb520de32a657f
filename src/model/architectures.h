// Every architecture that this program runs; each has a file of its own (config, weights, forward).
#pragma once

#include <memory>
#include <string_view>

#include "core/status.h"
#include "formats/checkpoint.h"
#include "model/model.h"

namespace inkstone {

struct Architecture {
  std::string_view name;  // "general.architecture" in GGUF
  Result<ModelConfig> (*read_config)(const Checkpoint& checkpoint);
  Result<std::unique_ptr<Model>> (*load)(const Checkpoint& checkpoint, Backend& backend, const ModelLimits& limits);
};

extern const Architecture kQwen3;
extern const Architecture kQwen2;
extern const Architecture kLlama;

}  // namespace inkstone

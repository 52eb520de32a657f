// Finds the model that a user names.
#pragma once

#include <string>

#include "core/status.h"

namespace inkstone {

// $INKSTONE_MODELS, else $XDG_DATA_HOME/inkstone/models, else ~/.local/share/inkstone/models.
std::string ModelFolder();

// A path that exists is taken as it is; otherwise NAME or NAME.gguf in the model folder. kNotFound lists what is there.
Result<std::string> ResolveModel(const std::string& name);

}  // namespace inkstone

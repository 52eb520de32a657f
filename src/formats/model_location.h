// Where in a folder a model lies.
#pragma once

#include <string>

#include "core/status.h"

namespace inkstone {

// The GGUF file or Hugging Face folder that `path` means. A file, and a folder with config.json and tensors, stand for
// themselves. A folder with one GGUF model, or with one folder with a model, means that model. A folder of the Hugging
// Face hub's cache ("models--org--name", with "snapshots" in it) means the snapshot that refs/main names, or the only
// one. kInvalidArgument lists what is there where more than one model may be meant. A folder without any is returned as
// it is.
Result<std::string> LocateModel(const std::string& path);

// "name" for a snapshot in the hub's cache ("models--org--name/snapshots/0123..."), else the last part of `path`.
std::string ModelNameOf(const std::string& path);

}  // namespace inkstone

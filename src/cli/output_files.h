// Names of files that a command is to write, checked before the work begins.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"

namespace inkstone {

struct NamedFile {
  std::string option;  // as messages call it
  std::string path;    // empty: not given
};

// kInvalidArgument where an output is a folder, device, pipe or socket, or is the same file as an input or another
// output, under whatever name.
Status CheckOutputFiles(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

}  // namespace inkstone

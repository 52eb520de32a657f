// Texts that commands read.
#pragma once

#include <string>

#include "core/status.h"

namespace inkstone {

// The whole file. kNotFound when it cannot be read.
Result<std::string> ReadText(const std::string& path);

}  // namespace inkstone

// Refuses work that the disk cannot hold before it is begun.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"

namespace inkstone {

// kResourceExhausted with both numbers when the file system of folder `folder` has less than `bytes` free. OK where
// the file system does not say.
Status CheckDiskSpace(const std::string& folder, uint64_t bytes);

}  // namespace inkstone

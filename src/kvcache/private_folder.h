// Folders for what is of conversations.
#pragma once

#include <string>

#include "core/status.h"

namespace inkstone {

// Makes the folder, and those it lies in, where it is not there: for this user only. A folder that is there keeps its
// mode; the files in it are for this user only anyway.
Status MakePrivateFolder(const std::string& folder);

}  // namespace inkstone

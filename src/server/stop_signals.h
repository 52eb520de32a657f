// SIGINT, SIGTERM and SIGHUP of a process that serves.
#pragma once

#include <chrono>

#include "core/status.h"

namespace inkstone {

// From now on the first SIGINT or SIGTERM asks to stop: the descriptor that is returned becomes readable. The process
// then has `limit` to end by itself. After that, and on a second signal, it ends where it stands, whatever its threads
// do. SIGHUP is ignored. The descriptor belongs to the process and stays open to its end.
Result<int> CatchStopSignals(std::chrono::seconds limit);

}  // namespace inkstone

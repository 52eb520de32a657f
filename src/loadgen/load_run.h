// Puts a load on a server and measures what its clients see.
#pragma once

#include <cstdint>
#include <functional>

#include "core/status.h"
#include "loadgen/load_report.h"

namespace inkstone {

// Runs until the load has ended, on this thread; SIGINT ends it early and the report says so. `progress` gets done and
// total about ten times a second: requests, or seconds where only those limit the load. Failed requests are part of
// the report. kInvalidArgument and kNotFound for the URL, the options and the prompts' file.
Result<LoadReport> RunLoad(const LoadOptions& options, const std::function<void(uint64_t, uint64_t)>& progress = {});

}  // namespace inkstone

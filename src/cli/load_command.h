// inkstone bench --url: a load on a running server instead of a model in this process.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "core/status.h"
#include "loadgen/load_options.h"

namespace inkstone {

struct LoadCommandOptions {
  LoadOptions load;
  std::string plot;  // SVG file to write
};

// Adds --url and what goes with it. When the command line is complete, options that need --url without it, and all
// others with it (but --json), are usage errors.
void AddLoadOptions(CLI::App* command, LoadCommandOptions* options);

// Puts the load on the server and prints the report. kUnavailable when every request failed.
Status RunLoadCommand(const LoadCommandOptions& options, bool json);

}  // namespace inkstone

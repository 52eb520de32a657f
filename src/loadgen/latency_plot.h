// A picture of a load's latencies.
#pragma once

#include <string>

#include "loadgen/load_report.h"

namespace inkstone {

// An SVG that needs nothing beside itself and follows the reader's dark or light mode: which share of the answers
// began, and which share of the pieces followed, within which time. Time on a logarithmic axis from 0.1 ms on.
std::string PlotLatencies(const LoadReport& report);

}  // namespace inkstone

// A picture of what compression costs: size against divergence.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "compress/divergence.h"

namespace inkstone {

struct PlotPoint {
  std::string label;
  uint64_t bytes = 0;
  Estimate kl;  // nats; finite
};

// An SVG that needs nothing beside itself and follows the reader's dark or light mode. Sizes on a linear axis,
// divergence on a logarithmic one; a divergence below 1e-7 is drawn on the lower edge. A line joins the models that no
// other beats in both. At least one point.
std::string PlotComparison(std::span<const PlotPoint> points, const std::string& title, const std::string& subtitle);

}  // namespace inkstone

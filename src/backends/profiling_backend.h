// A backend that passes everything on to another and keeps count of the time that each operation takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "backends/backend.h"

namespace inkstone {

struct OperationCost {
  int64_t calls = 0;
  double seconds = 0;
  double weight_bytes = 0;  // of the matrices that products read
  double flops = 0;         // two for each weight and row; products only
};

// By operation: "product 2560 -> 19456" (columns, rows of all its matrices), "attention", ...
using OperationCosts = std::map<std::string, OperationCost>;

// `costs` is borrowed and must outlive the backend.
std::unique_ptr<Backend> MakeProfilingBackend(std::unique_ptr<Backend> backend, OperationCosts* costs);

}  // namespace inkstone

// How long-running rewrites report where they are.
#pragma once

#include <cstdint>
#include <string_view>

namespace inkstone {

struct Progress {
  std::string_view tensor;   // being written; valid during the call
  uint64_t bytes_done = 0;   // of tensor data handed to the writer
  uint64_t bytes_total = 0;  // of tensor data in the result
};

}  // namespace inkstone

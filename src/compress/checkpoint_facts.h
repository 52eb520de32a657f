// What identifies a checkpoint, and how large it is.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"
#include "formats/checkpoint.h"

namespace inkstone {

struct CheckpointFacts {
  std::string name;          // last part of its path
  uint64_t fingerprint = 0;  // of the files' headers and of samples from every tensor, wherever the files lie
  uint64_t file_bytes = 0;   // of all its files
  uint64_t tensor_bytes = 0;
  uint64_t parameters = 0;
  double bits_per_weight() const { return 8.0 * static_cast<double>(tensor_bytes) / static_cast<double>(parameters); }
};

// Reads headers and 192 bytes of every tensor. kDataLoss for a checkpoint without tensors.
Result<CheckpointFacts> DescribeCheckpoint(const Checkpoint& checkpoint);

}  // namespace inkstone

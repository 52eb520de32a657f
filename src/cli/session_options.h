// The options of commands that generate text.
#pragma once

#include <string>

#include "cli/command.h"
#include "engine/session.h"

namespace inkstone {

struct SessionCommandOptions : ComputeOptions {
  int64_t context = 0;
  std::string memory;
  DType kv_type = DType::kF16;
};

void AddSessionOptions(CLI::App* command, SessionCommandOptions* options);
// For CLI11: a message unless the text is a number of bytes, such as 5GB.
std::string IsBytes(const std::string& text);
// Resolves the model's path; sequences and queue are the command's to set.
Result<SessionOptions> ToSessionOptions(const SessionCommandOptions& options);

}  // namespace inkstone

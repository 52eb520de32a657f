#include "cli/session_options.h"

#include "cli/model_path.h"
#include "core/units.h"

namespace inkstone {

std::string IsBytes(const std::string& text) {
  const Status status = ParseBytes(text).status();
  return status.ok() ? "" : status.message();
}

void AddSessionOptions(CLI::App* command, SessionCommandOptions* options) {
  AddComputeOptions(command, options);
  command
      ->add_option("--context", options->context,
                   "Tokens that one conversation may hold; default: what fits, at most 8192")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--memory", options->memory,
                   "Memory that the program may take, such as 5GB; default: what is available")
      ->check(IsBytes);
  AddKvTypeOption(command, &options->kv_type);
}

Result<SessionOptions> ToSessionOptions(const SessionCommandOptions& o) {
  SessionOptions options;
  INK_ASSIGN_OR_RETURN(options.model, ResolveModel(o.model));
  options.threads = o.threads;
  options.cpu = o.cpu;
  options.pinning = o.pinning;
  options.context = o.context;
  options.kv_type = o.kv_type;
  if (!o.memory.empty()) {
    INK_ASSIGN_OR_RETURN(options.memory_limit, ParseBytes(o.memory));
  }
  return options;
}

}  // namespace inkstone

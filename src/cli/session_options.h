// The options of commands that generate text.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "chat/context_policy.h"
#include "cli/command.h"
#include "engine/session.h"

namespace inkstone {

struct SessionCommandOptions : ComputeOptions {
  int64_t context = 0;  // as MemoryWishes has it
  std::string memory;
  std::optional<KvTypes> kv_types = {};
  int64_t attention_window = SessionOptions{}.attention_window;
  int64_t attention_sinks = SessionOptions{}.attention_sinks;
  std::string spill_size = "0";
  std::string spill_folder;
};

// --attention-window and --attention-sinks.
void AddAttentionWindowOptions(CLI::App* command, int64_t* window, int64_t* sinks);
void AddSessionOptions(CLI::App* command, SessionCommandOptions* options);
// For CLI11: a message unless the text is a number of bytes, such as 5GB.
std::string IsBytes(const std::string& text);
// A folder in memory would take what it is meant to save: kInvalidArgument that names the option.
Status CheckOnDisk(const std::string& option, const std::string& folder);
// Resolves the model's path; sequences and queue are the command's to set.
Result<SessionOptions> ToSessionOptions(const SessionCommandOptions& options);

// Adds --context-policy; `otherwise` says in the help what holds without it.
void AddContextPolicyOption(CLI::App* command, const std::string& otherwise,
                            const std::function<void(const ContextPolicy&)>& set);
// What --context takes: "auto", "max" or a number.
std::string ContextText(int64_t context);

// What was odd about a model's files, one line each on standard error.
void PrintWarnings(std::span<const std::string> warnings);

}  // namespace inkstone

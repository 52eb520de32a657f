#include "cli/session_options.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <cstdio>
#include <filesystem>

#include "cli/model_path.h"
#include "core/units.h"
#include "planner/memory_plan.h"

namespace inkstone {
namespace {

// Turns the words that stand for a context into their numbers.
std::string ReadContext(std::string& text) {
  if (text == "auto") {
    text = "0";
  } else if (text == "max") {
    text = std::to_string(kLongestContext);
  } else if (text.find_first_not_of("0123456789") != std::string::npos ||
             text.find_first_not_of('0') == std::string::npos) {
    return "expected a number of tokens above 0, auto or max, found " + text;
  }
  return "";
}

}  // namespace

Status CheckOnDisk(const std::string& option, const std::string& folder) {
  // One that is not there yet will be on its parent's disk.
  std::filesystem::path place = std::filesystem::absolute(folder);
  while (!std::filesystem::exists(place) && place.has_relative_path()) place = place.parent_path();
  struct statfs facts {};
  if (statfs(place.c_str(), &facts) != 0) return Status::Ok();  // whoever makes the file says what is wrong
  if (facts.f_type != TMPFS_MAGIC && facts.f_type != RAMFS_MAGIC) return Status::Ok();
  return InvalidArgument(option + ": expected a folder on a disk, found " + folder + ", which is in memory");
}

std::string IsBytes(const std::string& text) {
  const Status status = ParseBytes(text).status();
  return status.ok() ? "" : status.message();
}

void AddAttentionWindowOptions(CLI::App* command, int64_t* window, int64_t* sinks) {
  command
      ->add_option("--attention-window", *window,
                   "Every token sees the first tokens and at least so many of the newest; what lies between leaves the "
                   "cache, which so is bounded. 0 (the default): every token sees all")
      ->check(CLI::Range(0, 1 << 30));
  command
      ->add_option("--attention-sinks", *sinks,
                   "The first tokens, which stay in sight of the window; rounded up to pages of 32")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 30));
}

void AddSessionOptions(CLI::App* command, SessionCommandOptions* options) {
  AddComputeOptions(command, options);
  command
      ->add_option("--context", options->context,
                   "Tokens that one conversation may hold; auto (the default): what fits, at most 8192; max: what fits")
      ->transform(CLI::Validator(ReadContext, "", ""));
  command
      ->add_option("--memory", options->memory,
                   "Memory that the program may take, such as 5GB; default: what is available")
      ->check(IsBytes);
  AddKvTypeOption(command, &options->kv_types, kDefaultKv);
  AddAttentionWindowOptions(command, &options->attention_window, &options->attention_sinks);
  command
      ->add_option("--spill-size", options->spill_size,
                   "Disk space for keys and values of a context that does not fit into memory, such as 20GB. They are "
                   "read again for every token; 0: none")
      ->capture_default_str()
      ->check(IsBytes);
  command->add_option("--spill-folder", options->spill_folder,
                      "Where that lies, as a file without a name; on a fast disk. Default: the --cache-folder");
}

void AddContextPolicyOption(CLI::App* command, const std::string& otherwise,
                            const std::function<void(const ContextPolicy&)>& set) {
  command
      ->add_option_function<std::string>(
          "--context-policy", [set](const std::string& text) { set(*ContextPolicy::Parse(text)); },
          "When a conversation is longer than the context: reject it; window, drop the oldest rounds; or rounds=N, "
          "keep N "
          "rounds; default: " +
              otherwise)
      ->check([](const std::string& text) { return ContextPolicy::Parse(text).status().message(); });
}

std::string ContextText(int64_t context) {
  if (context == kLongestContext) return "max";
  return context == 0 ? "auto" : std::to_string(context);
}

Result<SessionOptions> ToSessionOptions(const SessionCommandOptions& o) {
  SessionOptions options;
  INK_ASSIGN_OR_RETURN(options.model, ResolveModel(o.model));
  options.threads = o.threads;
  options.cpu = o.cpu;
  options.pinning = o.pinning;
  options.context = o.context;
  options.kv_types = o.kv_types;
  options.attention_window = o.attention_window;
  options.attention_sinks = o.attention_sinks;
  INK_ASSIGN_OR_RETURN(options.spill_bytes, ParseBytes(o.spill_size));
  options.spill_folder = o.spill_folder;
  if (!o.spill_folder.empty()) INK_RETURN_IF_ERROR(CheckOnDisk("--spill-folder", o.spill_folder));
  if (!o.memory.empty()) {
    INK_ASSIGN_OR_RETURN(options.memory_limit, ParseBytes(o.memory));
  }
  return options;
}

void PrintWarnings(std::span<const std::string> warnings) {
  for (const std::string& warning : warnings) std::fprintf(stderr, "inkstone: warning: %s\n", warning.c_str());
}

}  // namespace inkstone

#include "cli/session_options.h"

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

std::string IsBytes(const std::string& text) {
  const Status status = ParseBytes(text).status();
  return status.ok() ? "" : status.message();
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
  if (!o.memory.empty()) {
    INK_ASSIGN_OR_RETURN(options.memory_limit, ParseBytes(o.memory));
  }
  return options;
}

}  // namespace inkstone

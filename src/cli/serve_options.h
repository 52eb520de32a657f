// The options of `inkstone serve`, and the profiles that set several of them at once.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/context_policy.h"
#include "cli/session_options.h"
#include "server/server.h"

namespace inkstone {

// What a profile sets; the defaults are those of a server without one.
struct ServingSettings {
  int sequences = 8;                     // answers generated at once
  int queue = 64;                        // requests that may wait
  int64_t context = 0;                   // as MemoryWishes has it
  std::optional<KvTypes> kv_types = {};  // unset: the model's default
  int64_t prompt_chunk = 512;            // prompt tokens in one step
  double prefill_share = 0.3;            // of a step that decodes, for prompts
  ContextPolicy context_policy = {};

  bool operator==(const ServingSettings&) const = default;
};

struct Profile {
  std::string_view name;
  std::string_view purpose;
  ServingSettings settings;
};
std::span<const Profile> Profiles();

struct ServeOptions : SessionCommandOptions {  // its context and kv_types are settings too
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
  int sequences = ServingSettings{}.sequences;
  int queue = ServingSettings{}.queue;
  int64_t prompt_chunk = ServingSettings{}.prompt_chunk;
  double prefill_share = ServingSettings{}.prefill_share;
  ContextPolicy context_policy = {};
  std::vector<std::string> origins;
  std::vector<std::string> hosts;
  bool no_auth = false;
  int grace = 30;  // seconds
  bool quiet = false;
  int connections = HttpLimits{}.connections;
  PrefixReuse prefix = PrefixReuse::kAll;
  PrefixShare share = SessionOptions{}.share;
  bool allow_priority = false;
  std::string cache_folder;
  std::string cache_size = "4GB";

  ServingSettings settings() const {
    return {sequences, queue, context, kv_types, prompt_chunk, prefill_share, context_policy};
  }
};

// An option beats the profile wherever it stands on the command line. --print-profile prints and throws CLI::Success.
void DeclareServeOptions(CLI::App* command, ServeOptions* options);

// One profile as the options that say the same, or all of them ("all"); with `json` as {"profiles": [..]}.
std::string DescribeProfiles(std::string_view name, bool json);

}  // namespace inkstone

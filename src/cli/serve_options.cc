#include "cli/serve_options.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <map>

#include "planner/memory_plan.h"
#include "server/json_writer.h"

namespace inkstone {
namespace {

using Kind = ContextPolicy::Kind;

constexpr std::array<Profile, 3> kProfiles = {{
    {"single",
     "one person, smallest memory",
     {.sequences = 1, .queue = 4, .prompt_chunk = 256, .context_policy = {Kind::kWindow, 0}}},
    {"multi", "several users, throughput", {.sequences = 16, .queue = 256, .prompt_chunk = 512, .prefill_share = 0.75}},
    {"longdoc",
     "one long document: as much context as fits, with --spill-size on disk too, the oldest rounds dropped when it is "
     "full",
     {.sequences = 1,
      .queue = 8,
      .context = kLongestContext,
      .prompt_chunk = 1024,  // each chunk reads all that is on disk once
      .context_policy = {Kind::kWindow, 0}}},
}};

void Apply(const ServingSettings& s, ServeOptions* o) {
  o->sequences = s.sequences;
  o->queue = s.queue;
  o->context = s.context;
  o->kv_types = s.kv_types;
  o->prompt_chunk = s.prompt_chunk;
  o->prefill_share = s.prefill_share;
  o->context_policy = s.context_policy;
}

std::string KvText(const ServingSettings& s) { return s.kv_types ? KvTypesName(*s.kv_types) : "auto"; }

std::string ShareText(double share) {
  std::array<char, 16> text;
  std::snprintf(text.data(), text.size(), "%g", share);
  return text.data();
}

std::string NamesOfProfiles() {
  std::string names;
  for (const Profile& profile : kProfiles) names.append(names.empty() ? "" : ", ").append(profile.name);
  return names;
}

}  // namespace

std::span<const Profile> Profiles() { return kProfiles; }

std::string DescribeProfiles(std::string_view name, bool json) {
  std::string text;
  JsonWriter writer;
  writer.BeginObject().Key("profiles").BeginArray();
  for (const Profile& profile : kProfiles) {
    if (name != "all" && name != profile.name) continue;
    const ServingSettings& s = profile.settings;
    const std::string context = ContextText(s.context);
    writer.BeginObject().Field("name", profile.name).Field("purpose", profile.purpose);
    writer.Field("sequences", s.sequences).Field("queue", s.queue).Field("context", context);
    writer.Field("kv_type", KvText(s)).Field("prompt_chunk", s.prompt_chunk).Field("prefill_share", s.prefill_share);
    writer.Field("context_policy", s.context_policy.Name()).EndObject();
    text.append(profile.name).append(": ").append(profile.purpose).append("\n  --sequences ");
    text.append(std::to_string(s.sequences)).append(" --queue ").append(std::to_string(s.queue));
    text.append(" --context ").append(context);
    if (s.kv_types) text.append(" --kv-type ").append(KvText(s));
    text.append(" --prompt-chunk ").append(std::to_string(s.prompt_chunk));
    text.append(" --prefill-share ").append(ShareText(s.prefill_share));
    text.append(" --context-policy ").append(s.context_policy.Name()).append("\n");
  }
  return json ? writer.EndArray().EndObject().Take() + "\n" : text;
}

namespace {

void DeclareCacheOptions(CLI::App* command, ServeOptions* o) {
  const std::map<std::string, PrefixReuse> reuse = {
      {"off", PrefixReuse::kOff}, {"prompts", PrefixReuse::kPrompts}, {"all", PrefixReuse::kAll}};
  command
      ->add_option("--prefix-cache", o->prefix,
                   "What earlier requests computed and is used again: off, prompts (answers then never depend on what "
                   "was asked before), or all, answers too (default)")
      ->transform(CLI::CheckedTransformer(reuse).description(""));
  const std::map<std::string, PrefixShare> share = {
      {"all", PrefixShare::kAll}, {"system", PrefixShare::kSystem}, {"client", PrefixShare::kClient}};
  command
      ->add_option("--share-prefix", o->share,
                   "Who finds what was computed for others: client, nobody; system (default), whoever begins with a "
                   "system text that several clients have sent; all, everybody, who then can find out what others "
                   "wrote")
      ->transform(CLI::CheckedTransformer(share).description(""));
  command->add_option("--cache-folder", o->cache_folder,
                      "Keep keys and values of long and repeated prompts in this folder, also over restarts. They tell "
                      "what was written to whoever can read it; default: nowhere");
  command->add_option("--cache-size", o->cache_size, "Most disk space for it")->capture_default_str()->check(IsBytes);
}

}  // namespace

void DeclareServeOptions(CLI::App* command, ServeOptions* o) {
  std::vector<std::string> names;
  names.reserve(kProfiles.size() + 1);
  for (const Profile& profile : kProfiles) names.emplace_back(profile.name);
  // The first to be declared is the first to take effect: what follows overrides it.
  command
      ->add_option_function<std::string>(
          "--profile",
          [o](const std::string& name) {
            for (const Profile& profile : kProfiles) {
              if (profile.name == name) Apply(profile.settings, o);
            }
          },
          "Settings for a purpose, each of which its own option overrides: " + NamesOfProfiles())
      ->check(CLI::IsMember(names));
  AddSessionOptions(command, o);
  command
      ->add_option("--host", o->host,
                   "Address to listen on; one that other computers reach needs --allow-host or --no-auth")
      ->capture_default_str();
  command->add_option("--port", o->port, "Port; 0 picks a free one")->capture_default_str();
  command->add_option("--sequences", o->sequences, "Answers generated at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command->add_option("--queue", o->queue, "Requests that may wait; one more is refused")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  command->add_option("--prompt-chunk", o->prompt_chunk, "Prompt tokens in one step; at least --sequences")
      ->capture_default_str()
      ->check(CLI::Range(1, 8192));
  command
      ->add_option("--prefill-share", o->prefill_share,
                   "Share of a step that prompts may take while answers wait for their next token (more, when more "
                   "prompts wait than answers): little keeps tokens coming evenly, much serves more requests")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 0.9));
  AddContextPolicyOption(command, "reject", [o](const ContextPolicy& policy) { o->context_policy = policy; });
  DeclareCacheOptions(command, o);
  command->add_option("--allow-origin", o->origins, "Further web origin that may call the API, or *");
  command->add_option("--allow-host", o->hosts,
                      "Name that clients reach the server by, beside localhost and addresses");
  command->add_flag("--no-auth", o->no_auth, "Let everybody use the server who reaches --host, which asks for no key");
  command->add_option("--grace", o->grace, "Seconds that running answers have to end after SIGTERM")
      ->capture_default_str()
      ->check(CLI::Range(0, 3600));
  command->add_option("--connections", o->connections, "Connections open at once; one more is answered with 503")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command->add_flag("--allow-priority", o->allow_priority,
                    "A request's \"priority\" counts among those of all clients; without it, among its client's own");
  command->add_flag("--quiet", o->quiet, "No line for each request");
  names.emplace_back("all");
  command
      ->add_option_function<std::string>(
          "--print-profile",
          [o](const std::string& name) {
            std::fputs(DescribeProfiles(name, o->json).c_str(), stdout);
            throw CLI::Success();
          },
          "Print what a profile sets, or all of them, and end")
      ->check(CLI::IsMember(names));
  command->footer(
      "Examples:\n"
      "  inkstone serve qwen3-4b.gguf --context 4096 --port 8080\n"
      "  inkstone serve qwen3-4b.gguf --profile multi --sequences 24\n"
      "  inkstone serve --print-profile all");
}

}  // namespace inkstone

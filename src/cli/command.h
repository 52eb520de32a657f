// What every command shares: global options, and how a command is declared.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/cpu_topology.h"
#include "core/dtype.h"
#include "core/kv_vector.h"
#include "core/status.h"

namespace inkstone {

// Options that every command takes.
struct CommonOptions {
  std::string model;  // GGUF file, Hugging Face folder, or a name in the local model folder
  int threads = 0;
  std::string cpu;
  bool json = false;
};

// Options of the commands that run a model.
struct ComputeOptions : CommonOptions {
  Pinning pinning = Pinning::kAuto;
};

// Of --kv-type for the commands that serve: ModelConfig::DefaultKvTypes.
inline constexpr char kDefaultKv[] = "q8_0, with keys in f16 where their biases or the heads' size want it";
// Adds --kv-type; *types stays as it is when that is not given, which help calls `otherwise`.
void AddKvTypeOption(CLI::App* command, std::optional<KvTypes>* types, const char* otherwise);

// Set by the subcommand that was given; main runs it.
using CommandBody = std::function<Status()>;

// Adds --threads, --cpu and --json, and the positional MODEL unless `with_model` is false.
void AddCommonOptions(CLI::App* command, CommonOptions* options, bool with_model = true);
// The same, and --pin.
void AddComputeOptions(CLI::App* command, ComputeOptions* options, bool with_model = true);

// Declares a subcommand: `declare` adds options that write into a fresh Options, `run` gets it when the command is
// given.
template <typename Options>
void AddCommand(CLI::App* app, CommandBody* body, const std::string& name, const std::string& description,
                void (*declare)(CLI::App*, Options*), Status (*run)(const Options&)) {
  CLI::App* command = app->add_subcommand(name, description);
  auto options = std::make_shared<Options>();
  declare(command, options.get());
  command->callback([=] { *body = [=] { return run(*options); }; });
}

void AddBenchCommand(CLI::App* app, CommandBody* body);
void AddCompressCommand(CLI::App* app, CommandBody* body);
void AddEvalCommand(CLI::App* app, CommandBody* body);
void AddInspectCommand(CLI::App* app, CommandBody* body);
void AddLogitsCommand(CLI::App* app, CommandBody* body);
void AddRunCommand(CLI::App* app, CommandBody* body);
void AddServeCommand(CLI::App* app, CommandBody* body);
void AddSynthCommand(CLI::App* app, CommandBody* body);
void AddTokenizeCommand(CLI::App* app, CommandBody* body);

}  // namespace inkstone

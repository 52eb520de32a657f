// inkstone synth: test checkpoints of any shape with random weights.
#include <cstdio>

#include "cli/command.h"
#include "cli/progress_bar.h"
#include "compress/synth.h"

namespace inkstone {
namespace {

// Numbers given on the command line replace those of the named shape; 0 and empty leave them.
struct SynthCommandOptions : CommonOptions {
  std::string shape = "qwen3-4b";
  SynthShape custom{.architecture = "", .rope_theta = 0, .max_position = 0, .rms_eps = 0};
  bool untied = false;
  std::string type = "BF16";
  SynthOptions options;
};

void DeclareShape(CLI::App* command, SynthCommandOptions* o) {
  std::string names;
  for (const std::string_view name : ShapeNames()) names += (names.empty() ? "" : ", ") + std::string(name);
  const auto check_shape = [](const std::string& name) {
    const Status status = NamedShape(name).status();
    return status.ok() ? "" : status.message();
  };
  command->add_option("--shape", o->shape, "Shape to start from: " + names)->capture_default_str()->check(check_shape);
  command->add_option("--architecture", o->custom.architecture, "qwen3, qwen2 or llama")
      ->check(CLI::IsMember({"qwen3", "qwen2", "llama"}));
  const auto size = [&](const char* flag, int64_t* value, const char* what) {
    command->add_option(flag, *value, what)->check(CLI::PositiveNumber);
  };
  size("--hidden", &o->custom.hidden, "Hidden size");
  size("--layers", &o->custom.layers, "Layers");
  size("--heads", &o->custom.heads, "Query heads");
  size("--kv-heads", &o->custom.kv_heads, "Key and value heads");
  size("--head-dim", &o->custom.head_dim, "Values per head");
  size("--intermediate", &o->custom.intermediate, "Size of the gated block");
  size("--vocab", &o->custom.vocab, "Rows of the embedding");
  size("--max-position", &o->custom.max_position, "Trained context in tokens");
  command->add_option("--rope-theta", o->custom.rope_theta, "Base of the rotary frequencies")
      ->check(CLI::PositiveNumber);
  command->add_option("--rope-scaling", o->custom.rope_scaling_json, "JSON object for rope_scaling");
  command->add_flag("--untied", o->untied, "An output matrix of its own");
}

void Declare(CLI::App* command, SynthCommandOptions* o) {
  AddCommonOptions(command, o, false);
  command->add_option("-o,--out", o->options.output, "Folder to write")->required();
  DeclareShape(command, o);
  command->add_option("--type", o->type, "BF16, F16 or F32")
      ->capture_default_str()
      ->check(CLI::IsMember({"BF16", "F16", "F32"}, CLI::ignore_case));
  command->add_option("--deviation", o->options.deviation, "Standard deviation of the weights")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--seed", o->options.seed, "The same seed gives the same weights")->capture_default_str();
  command->add_option("--tokenizer-from", o->options.tokenizer_from, "Folder to copy the tokenizer files from")
      ->check(CLI::ExistingDirectory);
  command->add_flag("--overwrite", o->options.overwrite, "Replace an earlier model in the folder");
  command->footer("Example:\n  inkstone synth --shape qwen3-4b --out build/synth-4b");
}

template <typename T>
void Replace(T* target, const T& value) {
  if (value != T{}) *target = value;
}

Status Run(const SynthCommandOptions& o) {
  SynthOptions options = o.options;
  INK_ASSIGN_OR_RETURN(options.shape, NamedShape(o.shape));
  SynthShape& s = options.shape;
  Replace(&s.architecture, o.custom.architecture);
  Replace(&s.hidden, o.custom.hidden);
  Replace(&s.layers, o.custom.layers);
  Replace(&s.heads, o.custom.heads);
  Replace(&s.kv_heads, o.custom.kv_heads);
  Replace(&s.head_dim, o.custom.head_dim);
  Replace(&s.intermediate, o.custom.intermediate);
  Replace(&s.vocab, o.custom.vocab);
  Replace(&s.max_position, o.custom.max_position);
  Replace(&s.rope_theta, o.custom.rope_theta);
  Replace(&s.rope_scaling_json, o.custom.rope_scaling_json);
  if (o.untied) s.tied = false;
  options.type = *DTypeFromName(o.type);
  options.threads = o.threads;
  ProgressBar bar("Writing", true);
  return Synth(options, [&](const Progress& p) { bar.Update(p.bytes_done, p.bytes_total); });
}

}  // namespace

void AddSynthCommand(CLI::App* app, CommandBody* body) {
  AddCommand<SynthCommandOptions>(app, body, "synth", "Write a test checkpoint with random weights", Declare, Run);
}

}  // namespace inkstone

#include "cli/command.h"

#include <string>

#include "core/cpu_info.h"
#include "kernels/kernels.h"

namespace inkstone {
namespace {

std::string CheckTarget(const std::string& name) {
  const Status status = SelectKernels(name, DetectCpuFeatures()).status();
  return status.ok() ? "" : status.message();
}

std::string CheckKvTypes(const std::string& name) {
  return KvTypesFromName(name) ? ""
                               : "expected f32, f16, q8_0 or q4_0, or two of them for keys and values as in "
                                 "q8_0/q4_0, found '" +
                                     name + "'";
}

}  // namespace

void AddCommonOptions(CLI::App* command, CommonOptions* options, bool with_model) {
  if (with_model) {
    command->add_option("MODEL", options->model, "GGUF file, Hugging Face folder, or a name in the local model folder")
        ->required();
  }
  command
      ->add_option("--threads", options->threads,
                   "Threads; default: the physical cores that this process may use, within its CPU quota")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--cpu", options->cpu,
                   "Kernels to use: ref, avx2, avx512vnni, amx; default: the best that the CPU has")
      ->envname("INKSTONE_CPU")
      ->check(CheckTarget);
  command->add_flag("--json", options->json, "Report as JSON on standard output");
}

void AddComputeOptions(CLI::App* command, ComputeOptions* options, bool with_model) {
  AddCommonOptions(command, options, with_model);
  command
      ->add_option_function<std::string>(
          "--pin", [options](const std::string& name) { options->pinning = *PinningFromName(name); },
          "Keep each thread on a physical core of its own: on, off, or auto, which does it when the threads take all "
          "cores and no CPU quota is below them")
      ->default_str("auto")
      ->check(CLI::IsMember({"auto", "on", "off"}));
}

void AddKvTypeOption(CLI::App* command, std::optional<KvTypes>* types, const char* otherwise) {
  command
      ->add_option_function<std::string>(
          "--kv-type", [types](const std::string& name) { *types = KvTypesFromName(name); },
          "Type of the KV cache: f32, f16, q8_0 (0.56 of f16's memory) or q4_0 (0.28); keys and values may differ: "
          "q8_0/q4_0")
      ->type_name("TYPE[/TYPE]")
      ->default_str(otherwise)
      ->check(CheckKvTypes);
}

}  // namespace inkstone

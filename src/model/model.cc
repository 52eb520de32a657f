#include "model/model.h"

#include <array>
#include <string>

#include "model/architectures.h"
#include "model/decoder.h"

namespace inkstone {
namespace {

Result<const Architecture*> FindArchitecture(const Checkpoint& checkpoint) {
  static constexpr std::array<const Architecture*, 3> kArchitectures = {&kQwen3, &kQwen2, &kLlama};
  INK_ASSIGN_OR_RETURN(const std::string_view name, checkpoint.metadata().GetString("general.architecture"));
  std::string known;
  for (const Architecture* a : kArchitectures) {
    if (a->name == name) return a;
    known += (known.empty() ? "" : ", ") + std::string(a->name);
  }
  return Unimplemented(checkpoint.path() + ": 'general.architecture': expected one of " + known + ", found '" +
                       std::string(name) + "'");
}

}  // namespace

Result<std::unique_ptr<Model>> Model::Load(const Checkpoint& checkpoint, Backend& backend, const ModelLimits& limits) {
  INK_ASSIGN_OR_RETURN(const Architecture* architecture, FindArchitecture(checkpoint));
  return architecture->load(checkpoint, backend, limits);
}

Result<ModelConfig> Model::ReadConfig(const Checkpoint& checkpoint) {
  INK_ASSIGN_OR_RETURN(const Architecture* architecture, FindArchitecture(checkpoint));
  return architecture->read_config(checkpoint);
}

Status Model::Embed(std::span<const SequenceStep>, Rows) { return Unimplemented("this model does not run in parts"); }

Status Model::RunLayers(int, int, std::span<const SequenceStep>, Rows) {
  return Unimplemented("this model does not run in parts");
}

Status Model::ComputeLogits(Rows, Phase, std::span<float>) { return Unimplemented("this model does not run in parts"); }

size_t Model::ActivationBytes(const ModelConfig& config, const Backend& backend, const ModelLimits& limits) {
  return Decoder::WorkspaceBytes(config, backend, limits);
}

}  // namespace inkstone

// Llama 2 and 3, and models of their shape such as SmolLM2: no biases, no head norms.
// Touvron et al., "Llama 2", 2023; Grattafiori et al., "The Llama 3 Herd of Models", 2024.
#include <utility>

#include "model/architectures.h"
#include "model/decoder.h"

namespace inkstone {
namespace {

// --- config ---------------------------------------------------------------------------------------------------------

Result<ModelConfig> ReadConfig(const Checkpoint& checkpoint) {
  INK_ASSIGN_OR_RETURN(ModelConfig config, ReadDecoderConfig(checkpoint, "llama"));
  // A GGUF file holds the rows of Q and K reordered so that RoPE turns neighbours; a Hugging Face folder does not.
  config.rope.interleaved = checkpoint.kind() == CheckpointKind::kGguf;
  return config;
}

class Llama final : public Decoder {
 public:
  using Decoder::Decoder;

 private:
  // --- weights ------------------------------------------------------------------------------------------------------

  struct Layer {
    AttentionWeights attention;
    GatedMlp mlp;
  };
  std::vector<Layer> layers_;

  Status LoadLayer(const TensorLoader& loader, int i) override {
    Layer layer;
    INK_ASSIGN_OR_RETURN(layer.attention, AttentionWeights::Load(loader, config(), i));
    INK_ASSIGN_OR_RETURN(layer.mlp, GatedMlp::Load(loader, config(), i));
    layers_.push_back(std::move(layer));
    return Status::Ok();
  }

  // --- forward ------------------------------------------------------------------------------------------------------

  void RunLayer(int i) override {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    Norm(layer.attention.norm);
    ProjectQkv(layer.attention);
    RotateQk({}, {});
    Attend(i, layer.attention);
    AddAttentionOutput(layer.attention.output);
    Norm(layer.mlp.norm);
    AddGatedMlp(layer.mlp.gate, layer.mlp.up, layer.mlp.down);
  }
};

Result<std::unique_ptr<Model>> Load(const Checkpoint& checkpoint, Backend& backend, const ModelLimits& limits) {
  return LoadDecoder<Llama>(checkpoint, ReadConfig(checkpoint), backend, limits);
}

}  // namespace

const Architecture kLlama = {"llama", ReadConfig, Load};

}  // namespace inkstone

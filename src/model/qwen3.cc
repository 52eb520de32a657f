// Qwen3 (dense): RMSNorm on each query and key head before RoPE, head_dim independent of the hidden size, no biases.
// Qwen Team, "Qwen3 Technical Report", 2025.
#include <utility>

#include "model/architectures.h"
#include "model/decoder.h"

namespace inkstone {
namespace {

// --- config ---------------------------------------------------------------------------------------------------------

Result<ModelConfig> ReadConfig(const Checkpoint& checkpoint) { return ReadDecoderConfig(checkpoint, "qwen3"); }

class Qwen3 final : public Decoder {
 public:
  using Decoder::Decoder;

 private:
  // --- weights ------------------------------------------------------------------------------------------------------

  struct Layer {
    AttentionWeights attention;
    F32Vector q_norm, k_norm;  // (head_dim)
    GatedMlp mlp;
  };
  std::vector<Layer> layers_;

  Status LoadLayer(const TensorLoader& loader, int i) override {
    Layer layer;
    INK_ASSIGN_OR_RETURN(layer.attention, AttentionWeights::Load(loader, config(), i));
    INK_ASSIGN_OR_RETURN(layer.q_norm, loader.Vector(BlockTensor(i, "attn_q_norm.weight"), config().head_dim));
    INK_ASSIGN_OR_RETURN(layer.k_norm, loader.Vector(BlockTensor(i, "attn_k_norm.weight"), config().head_dim));
    INK_ASSIGN_OR_RETURN(layer.mlp, GatedMlp::Load(loader, config(), i));
    layers_.push_back(std::move(layer));
    return Status::Ok();
  }

  // --- forward ------------------------------------------------------------------------------------------------------

  void RunLayer(int i) override {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    Norm(layer.attention.norm);
    ProjectQkv(layer.attention);
    RotateQk(layer.q_norm, layer.k_norm);
    Attend(i, layer.attention);
    AddAttentionOutput(layer.attention.output);
    Norm(layer.mlp.norm);
    AddGatedMlp(layer.mlp.gate, layer.mlp.up, layer.mlp.down);
  }
};

Result<std::unique_ptr<Model>> Load(const Checkpoint& checkpoint, Backend& backend, const ModelLimits& limits) {
  return LoadDecoder<Qwen3>(checkpoint, ReadConfig(checkpoint), backend, limits);
}

}  // namespace

const Architecture kQwen3 = {"qwen3", ReadConfig, Load};

}  // namespace inkstone

// Qwen1.5, Qwen2 and Qwen2.5 (dense): biases on the query, key and value projections.
// Qwen Team, "Qwen2 Technical Report", 2024; "Qwen2.5 Technical Report", 2024.
#include <utility>

#include "model/architectures.h"
#include "model/decoder.h"

namespace inkstone {
namespace {

// --- config ---------------------------------------------------------------------------------------------------------

Result<ModelConfig> ReadConfig(const Checkpoint& checkpoint) { return ReadDecoderConfig(checkpoint, "qwen2"); }

class Qwen2 final : public Decoder {
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
    for (const Projection* p : {&layer.attention.q, &layer.attention.k, &layer.attention.v}) {
      if (p->bias.empty()) return NotFound(BlockTensor(i, "attn_{q,k,v}.bias") + ": expected in every layer of Qwen2");
    }
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
  return LoadDecoder<Qwen2>(checkpoint, ReadConfig(checkpoint), backend, limits);
}

}  // namespace

const Architecture kQwen2 = {"qwen2", ReadConfig, Load};

}  // namespace inkstone

// What decoder-only transformers share: embedding, step bookkeeping, output, and the building blocks of a layer. An
// architecture derives from Decoder and writes its layer as a sequence of these blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "core/status.h"
#include "model/config.h"
#include "model/model.h"
#include "model/rope.h"
#include "model/tensor_loader.h"

namespace inkstone {

struct Projection {
  WeightView w;
  F32Vector bias;  // empty for none
};

// The weights of one attention block, as all architectures here name them. Biases are taken where they exist.
struct AttentionWeights {
  F32Vector norm;      // (hidden)
  Projection q, k, v;  // (heads * head_dim, hidden), (kv_heads * head_dim, hidden) twice
  WeightView output;   // (hidden, heads * head_dim)
  static Result<AttentionWeights> Load(const TensorLoader& loader, const ModelConfig& config, int layer);
};

// The weights of one SwiGLU block (Shazeer 2020).
struct GatedMlp {
  F32Vector norm;       // (hidden)
  WeightView gate, up;  // (intermediate, hidden)
  WeightView down;      // (hidden, intermediate)
  static Result<GatedMlp> Load(const TensorLoader& loader, const ModelConfig& config, int layer);
};

class Decoder : public Model {
 public:
  Decoder(ModelConfig config, const ModelLimits& limits, Backend& backend);
  // The whole of loading: LoadLayer for each layer, then what all share, then the check that nothing is left over.
  Status Load(const Checkpoint& checkpoint);

  const ModelConfig& config() const final { return config_; }
  const ModelLimits& limits() const final { return limits_; }
  std::span<const std::byte> workspace() const final { return {workspace_.data(), workspace_.size()}; }
  Status Forward(std::span<const SequenceStep> sequences, std::span<float> logits) final;
  Status Embed(std::span<const SequenceStep> sequences, Rows hidden) final;
  Status RunLayers(int first, int last, std::span<const SequenceStep> sequences, Rows hidden) final;
  Status ComputeLogits(Rows hidden, Phase phase, std::span<float> logits) final;

  // Bytes of the step's activations, the backend's own included.
  static size_t WorkspaceBytes(const ModelConfig& config, const Backend& backend, const ModelLimits& limits);

 protected:
  virtual Status LoadLayer(const TensorLoader& loader, int layer) = 0;

  // One layer, in terms of the blocks below. x, the residual stream, enters and leaves in the workspace.
  virtual void RunLayer(int layer) = 0;

  void Norm(const F32Vector& weight);                               // n = rmsnorm(x)
  void ProjectQkv(const AttentionWeights& w);                       // q, k, v = W n (+ b)
  void RotateQk(const F32Vector& q_norm, const F32Vector& k_norm);  // per-head norm where not empty, RoPE
  // Stores k, v; a = attention(q). In the last layer only rows whose logits are asked for go on from here.
  void Attend(int layer, const AttentionWeights& w);
  void AddAttentionOutput(const WeightView& w);  // x += W a
  void AddGatedMlp(const WeightView& gate, const WeightView& up,
                   const WeightView& down);  // x += down(silu(gate n) * up n)

 private:
  Status TakeWorkspace();
  Status Check(std::span<const SequenceStep> sequences) const;
  Status CheckLogits(int64_t rows, size_t logits) const;
  Status CheckHidden(Rows hidden) const;
  void Begin(std::span<const SequenceStep> sequences);
  void KeepRowsWithLogits();  // in x and q; the others were there for their keys and values
  void Output(std::span<float> logits);
  void MultiplyOutput(Rows rows, Phase phase, float* logits);  // logits = output matrix * norm(rows)
  Rows Step(Rows rows) const { return rows.Slice(0, shape_.rows()); }

  ModelConfig config_;
  ModelLimits limits_;
  Backend& backend_;
  RopeTable rope_;
  WeightView embedding_;  // (vocab, hidden)
  WeightView output_;     // (vocab, hidden)
  F32Vector output_norm_;

  DeviceBuffer workspace_;
  // Views into workspace_, (max_step_rows, ...) each.
  Rows x_, n_;      // hidden
  Rows q_, a_;      // heads * head_dim
  Rows k_, v_;      // kv_heads * head_dim
  Rows gate_, up_;  // intermediate
  Rows gathered_;   // hidden, (max_logit_rows): rows whose logits are wanted
  Rows cos_, sin_;  // head_dim / 2

  // The current step.
  std::span<const SequenceStep> steps_;
  StepShape shape_;
  std::vector<int32_t> tokens_;
  std::vector<SequenceRows> sequences_;
  std::vector<const PageTable*> tables_;
  SpilledPages spilled_;
  std::vector<std::byte*> page_pointers_;  // keys then values of every sequence, for the current layer
};

// Makes an `Architecture` (a Decoder) and loads it.
template <typename Architecture>
Result<std::unique_ptr<Model>> LoadDecoder(const Checkpoint& checkpoint, Result<ModelConfig> config, Backend& backend,
                                           const ModelLimits& limits) {
  if (!config.ok()) return config.status();
  auto model = std::make_unique<Architecture>(std::move(config).value(), limits, backend);
  INK_RETURN_IF_ERROR(static_cast<Decoder&>(*model).Load(checkpoint));
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace inkstone

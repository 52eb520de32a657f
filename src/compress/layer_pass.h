// A model run layer by layer over windows of text: calibration and sensitivity look into it. Only the layer at work
// need be resident: the weights of the others are let go, to come back from the page cache or the disk.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "backends/intercepting_backend.h"
#include "core/status.h"
#include "formats/checkpoint.h"
#include "model/runtime.h"

namespace inkstone {

// Windows of `window` tokens each that share no context. `hidden` holds the residual stream of all.
struct TextWindows {
  std::vector<int32_t> tokens;  // (count * window)
  int64_t window = 0;

  int64_t count() const { return static_cast<int64_t>(tokens.size()) / window; }
  std::span<const int32_t> at(int64_t index) const {
    return std::span(tokens).subspan(static_cast<size_t>(index * window), static_cast<size_t>(window));
  }
};

class LayerPass {
 public:
  // Rows of a step at most (more where one window has more): enough for weights to be unpacked rarely.
  static constexpr int64_t kStepRows = 512;

  // For windows of at least 32 and at most `max_window` tokens. `checkpoint` and `runtime` must outlive it.
  static Result<std::unique_ptr<LayerPass>> Create(const Checkpoint& checkpoint, Runtime& runtime, int64_t max_window);

  const ModelConfig& config() const { return model_->config(); }
  // What the model's products pass through.
  Interception& interception() { return interception_; }
  // The name of a matrix of the checkpoint, by its first byte; empty for others.
  const std::string& NameOf(const std::byte* data) const;

  // `hidden`: (windows.count() * windows.window, hidden) values. kInvalidArgument when a token is not of the model.
  Status Embed(const TextWindows& windows, std::span<float> hidden);
  // One layer for all windows; then its weights are let go.
  Status RunLayer(int layer, const TextWindows& windows, std::span<float> hidden);
  // Logits of rows after the last layer, (rows, vocab).
  Status Logits(std::span<const float> hidden, std::span<float> logits);
  // Lets go of the pages of the tensors whose names begin so.
  void Release(std::string_view prefix) const;

 private:
  explicit LayerPass(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  // Calls run(steps, rows of hidden) for as many windows at a time as make up a step.
  Status ForSteps(const TextWindows& windows, std::span<float> hidden,
                  FunctionRef<Status(std::span<const SequenceStep>, Rows)> run);

  const Checkpoint& checkpoint_;
  Interception interception_;
  std::unordered_map<const std::byte*, const std::string*> names_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<PagePool> pool_;
  std::vector<PageTable> tables_;  // of the sequences of a step
};

}  // namespace inkstone

// Error feedback for the matrices of one layer after another: runs the 16-bit layer over calibration text for the
// second moments of what its matrices see.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compress/feedback.h"
#include "compress/gram.h"
#include "compress/layer_pass.h"
#include "core/status.h"

namespace inkstone {

class LayerFeedback {
 public:
  // Everything borrowed must outlive it.
  static Result<std::unique_ptr<LayerFeedback>> Create(LayerPass& pass, Runtime& runtime, const TextWindows& windows);

  // Makes ready for the matrices of `layer`, which is after that of the call before.
  Status Advance(int layer);
  int layer() const { return layer_; }  // the present one; -1 before the first
  // Whether the matrix is of the present layer.
  bool Covers(std::string_view tensor) const { return grams_.find(tensor) != grams_.end(); }
  // Encodes some rows of a matrix that is covered: as EncodeWithFeedback, with the layer's `grams`.
  void Encode(std::string_view tensor, FeedbackMatrix matrix) const;

  // Rows that Encode takes at once.
  static constexpr int64_t kRows = 512;

 private:
  using Grams = std::vector<GramMatrix>;

  LayerFeedback(LayerPass& pass, Runtime& runtime, const TextWindows& windows, DenseProduct product);
  void Observe(Rows x, std::span<const MatMulTarget> targets);

  LayerPass& pass_;
  Runtime& runtime_;
  const TextWindows& windows_;
  DenseProduct product_;
  std::vector<float> hidden_;  // what enters the next layer
  int layer_ = -1;
  std::map<std::string, std::shared_ptr<Grams>, std::less<>> grams_;  // by tensor; those of one input share
};

}  // namespace inkstone

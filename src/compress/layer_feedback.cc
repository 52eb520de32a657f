#include "compress/layer_feedback.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

namespace inkstone {
namespace {

// Of the mean of the diagonal, as GPTQ's authors use.
constexpr double kDamping = 0.01;

}  // namespace

LayerFeedback::LayerFeedback(LayerPass& pass, Runtime& runtime, const TextWindows& windows, DenseProduct product)
    : pass_(pass),
      runtime_(runtime),
      windows_(windows),
      product_(std::move(product)),
      hidden_(static_cast<size_t>(windows.count() * windows.window * pass.config().hidden)) {}

Result<std::unique_ptr<LayerFeedback>> LayerFeedback::Create(LayerPass& pass, Runtime& runtime,
                                                             const TextWindows& windows) {
  INK_ASSIGN_OR_RETURN(DenseProduct product, DenseProduct::Create(runtime, std::max(kMaxGramColumns, kRows),
                                                                  std::max(kGramTile, LayerPass::kStepRows)));
  auto feedback = std::unique_ptr<LayerFeedback>(new LayerFeedback(pass, runtime, windows, std::move(product)));
  INK_RETURN_IF_ERROR(pass.Embed(windows, feedback->hidden_));
  return feedback;
}

void LayerFeedback::Observe(Rows x, std::span<const MatMulTarget> targets) {
  std::shared_ptr<Grams>& grams = grams_[pass_.NameOf(targets[0].w.data)];
  if (grams == nullptr) grams = std::make_shared<Grams>(MakeGramMatrices(x.cols));
  for (GramMatrix& gram : *grams) gram.Add(x, runtime_.threads(), product_);
  for (const MatMulTarget& target : targets) grams_[pass_.NameOf(target.w.data)] = grams;
}

Status LayerFeedback::Advance(int layer) {
  if (layer <= layer_) return Internal("error feedback: expected layers in order, found " + std::to_string(layer));
  grams_.clear();
  for (int between = layer_ + 1; between < layer; ++between) {
    INK_RETURN_IF_ERROR(pass_.RunLayer(between, windows_, hidden_));
  }
  layer_ = layer;
  pass_.interception().observe = [this](Rows x, std::span<const MatMulTarget> targets) { Observe(x, targets); };
  const Status status = pass_.RunLayer(layer, windows_, hidden_);
  pass_.interception().observe = nullptr;
  INK_RETURN_IF_ERROR(status);
  std::set<Grams*> done;
  for (const auto& [name, grams] : grams_) {
    if (!done.insert(grams.get()).second) continue;
    for (GramMatrix& gram : *grams) INK_RETURN_IF_ERROR(gram.Factorize(kDamping, product_));
  }
  return Status::Ok();
}

void LayerFeedback::Encode(std::string_view tensor, FeedbackMatrix matrix) const {
  matrix.grams = *grams_.find(tensor)->second;
  EncodeWithFeedback(matrix, runtime_.threads(), product_);
}

}  // namespace inkstone

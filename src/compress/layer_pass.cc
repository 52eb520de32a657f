#include "compress/layer_pass.h"

#include <algorithm>
#include <utility>

#include "model/tensor_loader.h"

namespace inkstone {
namespace {

constexpr int64_t kLogitRows = 64;
constexpr int64_t kLeastWindow = 32;

}  // namespace

Result<std::unique_ptr<LayerPass>> LayerPass::Create(const Checkpoint& checkpoint, Runtime& runtime,
                                                     int64_t max_window) {
  auto pass = std::unique_ptr<LayerPass>(new LayerPass(checkpoint));
  for (const TensorInfo& tensor : checkpoint.tensors()) pass->names_[checkpoint.Data(tensor).data()] = &tensor.name;
  pass->backend_ = MakeInterceptingBackend(runtime.NewBackend(), &pass->interception_);
  ModelLimits limits;
  limits.max_step_rows = std::max(kStepRows, max_window);
  limits.max_context = max_window;
  limits.max_logit_rows = std::min(kLogitRows, max_window);
  limits.max_sequences = kStepRows / kLeastWindow;
  INK_ASSIGN_OR_RETURN(pass->model_, Model::Load(checkpoint, *pass->backend_, limits));
  INK_ASSIGN_OR_RETURN(const KvLayout layout, pass->config().KvLayoutFor({DType::kF16, DType::kF16}));
  // Windows of a step start on pages of their own.
  const int64_t pages = layout.PagesFor(limits.max_step_rows) + limits.max_sequences;
  INK_ASSIGN_OR_RETURN(PagePool pool, PagePool::Create(*pass->backend_, layout, pages));
  pass->pool_ = std::make_unique<PagePool>(std::move(pool));
  for (int64_t i = 0; i < limits.max_sequences; ++i) pass->tables_.emplace_back(pass->pool_.get());
  return pass;
}

const std::string& LayerPass::NameOf(const std::byte* data) const {
  static const std::string kNone;
  const auto found = names_.find(data);
  return found == names_.end() ? kNone : *found->second;
}

Status LayerPass::ForSteps(const TextWindows& windows, std::span<float> hidden,
                           FunctionRef<Status(std::span<const SequenceStep>, Rows)> run) {
  const int64_t cols = config().hidden, window = windows.window;
  const int64_t together = std::clamp<int64_t>(kStepRows / window, 1, static_cast<int64_t>(tables_.size()));
  std::vector<SequenceStep> steps;
  for (int64_t first = 0; first < windows.count(); first += together) {
    const int64_t count = std::min(together, windows.count() - first);
    steps.clear();
    for (PageTable& table : tables_) table.Clear();
    for (int64_t i = 0; i < count; ++i) {
      PageTable& table = tables_[static_cast<size_t>(i)];
      INK_RETURN_IF_ERROR(table.Reserve(window));
      steps.push_back({windows.at(first + i), 0, &table, Phase::kPrompt, LogitRows::kAll});
    }
    INK_RETURN_IF_ERROR(run(steps, {hidden.data() + first * window * cols, count * window, cols, cols}));
  }
  return Status::Ok();
}

Status LayerPass::Embed(const TextWindows& windows, std::span<float> hidden) {
  INK_RETURN_IF_ERROR(ForSteps(
      windows, hidden, [&](std::span<const SequenceStep> steps, Rows rows) { return model_->Embed(steps, rows); }));
  Release("token_embd.");
  return Status::Ok();
}

Status LayerPass::RunLayer(int layer, const TextWindows& windows, std::span<float> hidden) {
  INK_RETURN_IF_ERROR(ForSteps(windows, hidden, [&](std::span<const SequenceStep> steps, Rows rows) {
    return model_->RunLayers(layer, layer + 1, steps, rows);
  }));
  Release(BlockTensor(layer, ""));
  return Status::Ok();
}

Status LayerPass::Logits(std::span<const float> hidden, std::span<float> logits) {
  const int64_t cols = config().hidden, rows = static_cast<int64_t>(hidden.size()) / cols;
  // The model only reads them, but Rows has no form for that.
  const Rows all{const_cast<float*>(hidden.data()), rows, cols, cols};
  for (int64_t begin = 0; begin < rows; begin += model_->limits().max_logit_rows) {
    const int64_t count = std::min(model_->limits().max_logit_rows, rows - begin);
    INK_RETURN_IF_ERROR(model_->ComputeLogits(all.Slice(begin, count), Phase::kPrompt,
                                              logits.subspan(static_cast<size_t>(begin * config().vocab))));
  }
  return Status::Ok();
}

void LayerPass::Release(std::string_view prefix) const {
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (!tensor.name.starts_with(prefix)) continue;
    checkpoint_.files()[static_cast<size_t>(tensor.file)].DontNeed(tensor.offset, tensor.bytes);
  }
}

}  // namespace inkstone

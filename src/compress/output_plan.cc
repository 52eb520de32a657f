#include "compress/output_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string_view>
#include <tuple>
#include <utility>

#include "model/rope.h"
#include "model/tensor_loader.h"

namespace inkstone {
namespace {

constexpr std::string_view kLlama3Prefix = "inkstone.rope.llama3.";

// Position in the order in which a forward pass reads the file.
int ReadingOrder(std::string_view name) {
  if (name == "token_embd.weight") return -2;
  if (name == "rope_freqs.weight") return -1;
  const int layer = LayerOf(name);
  return layer < 0 ? std::numeric_limits<int>::max() : layer;
}

// Of how many of the ascending `removed` layers are below `layer`.
int RemovedBelow(int layer, std::span<const int> removed) {
  return static_cast<int>(std::lower_bound(removed.begin(), removed.end(), layer) - removed.begin());
}

bool EndsWithAny(std::string_view name, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return name.ends_with(end); });
}

// Heads whose rows change order on the way from Hugging Face's layout to GGUF's; 0 for all other tensors.
Result<int64_t> InterleavedHeads(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  const bool q = EndsWithAny(tensor.name, {".attn_q.weight", ".attn_q.bias"});
  const bool k = EndsWithAny(tensor.name, {".attn_k.weight", ".attn_k.bias"});
  if (checkpoint.kind() != CheckpointKind::kHuggingFace || (!q && !k)) return 0;
  const Metadata& meta = checkpoint.metadata();
  INK_ASSIGN_OR_RETURN(const std::string_view architecture, meta.GetString("general.architecture"));
  if (architecture != "llama") return 0;
  INK_ASSIGN_OR_RETURN(int64_t heads, meta.GetInt("llama.attention.head_count"));
  if (k) {
    INK_ASSIGN_OR_RETURN(heads, meta.GetIntOr("llama.attention.head_count_kv", heads));
  }
  const int64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
  if (heads < 1 || rows % (2 * heads) != 0) {
    return DataLoss(checkpoint.path() + ": tensor '" + tensor.name + "': expected rows that " + std::to_string(heads) +
                    " heads of even size share, found " + std::to_string(rows));
  }
  return heads;
}

// Llama 3's frequency divisors, which GGUF holds as a tensor and a Hugging Face config as four numbers.
Status AddFrequencyFactors(const Checkpoint& checkpoint, OutputPlan* plan) {
  const Metadata& meta = checkpoint.metadata();
  const std::string prefix(kLlama3Prefix);
  if (meta.Find(prefix + "factor") == nullptr || checkpoint.Find("rope_freqs.weight") != nullptr) return Status::Ok();
  Llama3Scaling scaling;
  INK_ASSIGN_OR_RETURN(scaling.factor, meta.GetFloat(prefix + "factor"));
  INK_ASSIGN_OR_RETURN(scaling.low_freq_factor, meta.GetFloat(prefix + "low_freq_factor"));
  INK_ASSIGN_OR_RETURN(scaling.high_freq_factor, meta.GetFloat(prefix + "high_freq_factor"));
  INK_ASSIGN_OR_RETURN(scaling.original_context, meta.GetFloat(prefix + "original_context_length"));
  INK_ASSIGN_OR_RETURN(const std::string_view architecture, meta.GetString("general.architecture"));
  const std::string key = std::string(architecture) + ".";
  INK_ASSIGN_OR_RETURN(const double theta, meta.GetFloatOr(key + "rope.freq_base", 10000.0));
  INK_ASSIGN_OR_RETURN(const int64_t head_dim, meta.GetInt(key + "attention.key_length"));
  constexpr int64_t kMaxHeadDim = 1 << 20;
  if (head_dim < 2 || head_dim > kMaxHeadDim) {
    return DataLoss(checkpoint.path() + ": " + key + "attention.key_length: expected 2 to " +
                    std::to_string(kMaxHeadDim) + ", found " + std::to_string(head_dim));
  }
  PlannedTensor tensor;
  tensor.values = Llama3FrequencyFactors(scaling, theta, static_cast<int>(head_dim));
  tensor.output.name = "rope_freqs.weight";
  tensor.output.shape = {static_cast<int64_t>(tensor.values.size())};
  plan->tensors.push_back(std::move(tensor));
  return Status::Ok();
}

}  // namespace

int64_t PlannedTensor::elements() const {
  return std::accumulate(output.shape.begin(), output.shape.end(), int64_t{1}, std::multiplies<>());
}

int64_t PlannedTensor::SourceIndex(int64_t index) const {
  if (interleaved_heads == 0) return index;
  const int64_t rows = output.shape[0];
  const int64_t cols = elements() / rows;
  const int64_t head_rows = rows / interleaved_heads;
  const int64_t row = index / cols;
  const int64_t in_head = row % head_rows;
  const int64_t source_row = row - in_head + (in_head % 2) * (head_rows / 2) + in_head / 2;
  return source_row * cols + index % cols;
}

Result<OutputPlan> PlanOutput(const Checkpoint& checkpoint, const TypePlan& types,
                              std::span<const int> removed_layers) {
  if (checkpoint.tensors().empty()) return DataLoss(checkpoint.path() + ": expected tensors, found none");
  OutputPlan plan;
  for (const TensorInfo& source : checkpoint.tensors()) {
    const int layer = LayerOf(source.name);
    if (std::binary_search(removed_layers.begin(), removed_layers.end(), layer)) continue;
    PlannedTensor tensor;
    tensor.output.name = source.name;
    if (layer >= 0) {
      const std::string prefix = BlockTensor(layer, "");
      tensor.output.name =
          BlockTensor(layer - RemovedBelow(layer, removed_layers), source.name.c_str() + prefix.size());
    }
    tensor.output.shape = source.shape;
    tensor.source = &source;
    INK_ASSIGN_OR_RETURN(tensor.interleaved_heads, InterleavedHeads(checkpoint, source));
    tensor.output.dtype = source.shape.size() < 2 ? DType::kF32 : types.types.at(source.name);
    plan.tensors.push_back(std::move(tensor));
  }
  INK_RETURN_IF_ERROR(AddFrequencyFactors(checkpoint, &plan));
  std::stable_sort(plan.tensors.begin(), plan.tensors.end(), [](const PlannedTensor& a, const PlannedTensor& b) {
    return ReadingOrder(a.output.name) < ReadingOrder(b.output.name);
  });
  for (PlannedTensor& tensor : plan.tensors) {
    tensor.output.bytes = static_cast<uint64_t>(RowBytes(tensor.output.dtype, tensor.elements()));
    plan.tensor_bytes += tensor.output.bytes;
    plan.parameters += tensor.elements();
  }
  return plan;
}

Metadata PlanMetadata(const Checkpoint& checkpoint, const TypePlan& types, std::span<const int> removed_layers) {
  Metadata out = checkpoint.metadata().ShallowCopy();
  std::vector<std::string> dropped = {"general.alignment"};  // the writer uses the default
  for (const Metadata::Entry& entry : out.entries()) {
    // Parts are joined into one file, and Llama 3's numbers have become a tensor.
    if (entry.key.starts_with("split.") || entry.key.starts_with(kLlama3Prefix)) dropped.emplace_back(entry.key);
  }
  for (const std::string& key : dropped) out.Erase(key);
  out.SetU32("general.file_type", types.file_type);
  out.SetU32("general.quantization_version", 2);
  const Result<std::string_view> architecture = out.GetString("general.architecture");
  if (!removed_layers.empty() && architecture.ok()) {
    const std::string key = std::string(*architecture) + ".block_count";
    const Result<int64_t> layers = out.GetInt(key);
    if (layers.ok()) out.SetU32(key, static_cast<uint32_t>(*layers - static_cast<int64_t>(removed_layers.size())));
  }
  return out;
}

}  // namespace inkstone

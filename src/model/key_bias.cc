#include "model/key_bias.h"

#include <algorithm>

#include "model/tensor_loader.h"
#include "quant/codec.h"

namespace inkstone {
namespace {

constexpr int64_t kRowStep = 8;
constexpr double kMostRatio = 1e6;  // of one head, so that a head without content does not hide what it decides

// Sum over columns of (row * gain)^2.
double Energy(const float* row, const F32Vector& gain) {
  double sum = 0;
  for (size_t j = 0; j < gain.size(); ++j) {
    const double product = static_cast<double>(row[j]) * gain[j];
    sum += product * product;
  }
  return sum;
}

// Sum over the heads of one layer.
Result<double> LayerRatio(const TensorLoader& loader, const ModelConfig& c, int layer) {
  const int64_t rows = int64_t{c.kv_heads} * c.head_dim;
  INK_ASSIGN_OR_RETURN(const F32Vector bias, loader.Vector(BlockTensor(layer, "attn_k.bias"), rows));
  INK_ASSIGN_OR_RETURN(const F32Vector gain, loader.Vector(BlockTensor(layer, "attn_norm.weight"), c.hidden));
  INK_ASSIGN_OR_RETURN(const WeightView keys, loader.Matrix(BlockTensor(layer, "attn_k.weight"), rows, c.hidden));
  F32Vector row(static_cast<size_t>(c.hidden));
  double sum = 0;
  for (int64_t head = 0; head < rows; head += c.head_dim) {
    double constant = 0, content = 0;
    for (int64_t i = head; i < head + c.head_dim; ++i) {
      constant += static_cast<double>(bias[static_cast<size_t>(i)]) * bias[static_cast<size_t>(i)];
      if ((i - head) % kRowStep != 0) continue;
      DecodeRow(keys.dtype, keys.row(i), c.hidden, row.data());
      content += Energy(row.data(), gain) * static_cast<double>(std::min(kRowStep, head + c.head_dim - i));
    }
    if (constant > 0) sum += constant < kMostRatio * content ? constant / content : kMostRatio;
  }
  return sum;
}

}  // namespace

Result<double> KeyBiasRatio(const Checkpoint& checkpoint, const ModelConfig& config) {
  const TensorLoader loader(checkpoint);
  double sum = 0;
  for (int layer = 0; layer < config.layers; ++layer) {
    // Where keys are normalized after the bias, nothing constant is left of it.
    if (!loader.Has(BlockTensor(layer, "attn_k.bias")) || loader.Has(BlockTensor(layer, "attn_k_norm.weight")))
      continue;
    INK_ASSIGN_OR_RETURN(const double ratio, LayerRatio(loader, config, layer));
    sum += ratio;
  }
  return sum / (static_cast<double>(config.layers) * config.kv_heads);
}

}  // namespace inkstone

#include "model/tensor_loader.h"

#include <charconv>

#include "quant/codec.h"

namespace inkstone {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + ")";
}

}  // namespace

Result<const TensorInfo*> TensorLoader::Checked(const std::string& name, const std::vector<int64_t>& shape) const {
  INK_ASSIGN_OR_RETURN(const TensorInfo* tensor, checkpoint_.Require(name));
  if (tensor->shape != shape) {
    return DataLoss(checkpoint_.path() + ": tensor '" + name + "': expected shape " + ShapeText(shape) + ", found " +
                    ShapeText(tensor->shape));
  }
  used_.insert(tensor);
  return tensor;
}

Status TensorLoader::CheckAllUsed() const {
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (tensor.name == "rope_freqs.weight" || used_.contains(&tensor)) continue;  // RoPE's belong to the configuration
    return Unimplemented(checkpoint_.path() + ": tensor '" + tensor.name +
                         "': expected only tensors of the architecture");
  }
  return Status::Ok();
}

Result<WeightView> TensorLoader::Matrix(const std::string& name, int64_t rows, int64_t cols) const {
  INK_ASSIGN_OR_RETURN(const TensorInfo* tensor, Checked(name, {rows, cols}));
  return WeightView{tensor->dtype, rows, cols, checkpoint_.Data(*tensor).data()};
}

Result<F32Vector> TensorLoader::Vector(const std::string& name, int64_t size) const {
  INK_ASSIGN_OR_RETURN(const TensorInfo* tensor, Checked(name, {size}));
  F32Vector values(static_cast<size_t>(size));
  DecodeRow(tensor->dtype, checkpoint_.Data(*tensor).data(), size, values.data());
  return values;
}

Result<F32Vector> TensorLoader::OptionalVector(const std::string& name, int64_t size) const {
  if (!Has(name)) return F32Vector();
  return Vector(name, size);
}

std::string BlockTensor(int layer, const char* suffix) { return "blk." + std::to_string(layer) + "." + suffix; }

int LayerOf(std::string_view tensor) {
  constexpr std::string_view kBlock = "blk.";
  int layer = -1;
  if (tensor.starts_with(kBlock)) std::from_chars(tensor.data() + kBlock.size(), tensor.data() + tensor.size(), layer);
  return layer;
}

}  // namespace inkstone

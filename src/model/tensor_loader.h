// Fetches and checks the weights of a model by name and shape.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "formats/checkpoint.h"
#include "kernels/kernels.h"

namespace inkstone {

// A vector decoded to f32; norms and biases are small enough to keep.
using F32Vector = std::vector<float>;

class TensorLoader {
 public:
  explicit TensorLoader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  // A view of the mapped matrix. kNotFound when it is missing, kDataLoss when its shape is not (rows, cols).
  Result<WeightView> Matrix(const std::string& name, int64_t rows, int64_t cols) const;
  // A vector of `size` values.
  Result<F32Vector> Vector(const std::string& name, int64_t size) const;
  // The same, or an empty vector when the checkpoint has no such tensor.
  Result<F32Vector> OptionalVector(const std::string& name, int64_t size) const;
  // kUnimplemented when the checkpoint has a tensor that nobody asked for: the model would not be what its makers
  // meant.
  Status CheckAllUsed() const;
  bool Has(const std::string& name) const { return checkpoint_.Find(name) != nullptr; }

 private:
  Result<const TensorInfo*> Checked(const std::string& name, const std::vector<int64_t>& shape) const;

  const Checkpoint& checkpoint_;
  mutable std::set<const TensorInfo*> used_;
};

// "blk.3.attn_q.weight"
std::string BlockTensor(int layer, const char* suffix);

// 3 of "blk.3.attn_q.weight"; -1 of a tensor that belongs to no layer.
int LayerOf(std::string_view tensor);

}  // namespace inkstone

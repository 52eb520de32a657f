// A backend that lets its owner see what goes into products, and put other weights in place of a model's: how
// calibration looks into a model, and sensitivity tries tensors in other types.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>

#include "backends/backend.h"

namespace inkstone {

struct Interception {
  // Called before a product with its input and its targets as the model gave them; may be empty.
  std::function<void(Rows x, std::span<const MatMulTarget> targets)> observe;
  // By the first byte of the matrix that a model was loaded with: what to use instead, of the same shape.
  std::map<const std::byte*, WeightView> replacements;
};

// `interception` is borrowed, must outlive the backend, and may change between operations.
std::unique_ptr<Backend> MakeInterceptingBackend(std::unique_ptr<Backend> backend, const Interception* interception);

}  // namespace inkstone

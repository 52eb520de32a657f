#include "quant/grid.h"

namespace inkstone {

BlockShape ShapeOf(DType type) {
  using enum Levels;
  switch (type) {
    case DType::kQ4_0:
      return {kSymmetric, -8, 7, 32, 1, 1, 1, 0, 0};
    case DType::kQ5_0:
      return {kSymmetric, -16, 15, 32, 1, 1, 1, 0, 0};
    case DType::kQ4_1:
      return {kAffine, 0, 15, 32, 1, 1, 1, -1, -1};
    case DType::kQ5_1:
      return {kAffine, 0, 31, 32, 1, 1, 1, -1, -1};
    case DType::kQ2_K:
      return {kAffine, 0, 3, 16, 16, 0, 15, 0, 15};
    case DType::kQ3_K:
      return {kSymmetric, -4, 3, 16, 16, -32, 31, 0, 0};
    case DType::kQ4_K:
      return {kAffine, 0, 15, 32, 8, 0, 63, 0, 63};
    case DType::kQ5_K:
      return {kAffine, 0, 31, 32, 8, 0, 63, 0, 63};
    case DType::kQ6_K:
      return {kSymmetric, -32, 31, 16, 16, -128, 127, 0, 0};
    case DType::kIQ4_NL:
      return {kCodeBook, -127, 113, 32, 1, 1, 1, 0, 0};
    case DType::kIQ4_XS:
      return {kCodeBook, -127, 113, 32, 8, -32, 31, 0, 0};
    default:  // Q8_0
      return {kBytes, -127, 127, 32, 1, 1, 1, 0, 0};
  }
}

}  // namespace inkstone

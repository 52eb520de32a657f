#include "quant/fit.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/half.h"

namespace inkstone {
namespace {

// Equals ggml's quantize_row_q8_0_ref: the largest magnitude becomes 127, levels follow from the scale before it is
// rounded to binary16.
FittedBlock FitToMaximum(const float* x) {
  int32_t max = 0;  // of the bits of |x|, which order as the values do: so the loop is vectorized
  for (int i = 0; i < kBlock; ++i) max = std::max(max, std::bit_cast<int32_t>(x[i]) & 0x7fffffff);
  const float d = std::bit_cast<float>(max) / 127.0f;
  const float inverse = 1.0f / d;
  FittedBlock fitted{};
  fitted.d = F32ToF16(d);
  fitted.scale[0] = 1;
  fitted.grid[0] = {F16ToF32(fitted.d), 0.0f, std::isinf(inverse) ? 0.0f : inverse};
  return fitted;
}

}  // namespace

const FitTable& BestFit() {
  static const FitTable& best = *AvailableFits(DetectCpuFeatures()).back();
  return best;
}

void FitBlocks(const FitTable& table, DType type, const float* x, const float* importance, int blocks,
               FittedBlock* out) {
  if (type != DType::kQ8_0 || importance != nullptr) return table.fit(ShapeOf(type), x, importance, blocks, out);
  for (int i = 0; i < blocks; ++i) out[i] = FitToMaximum(x + i * kBlock);
}

}  // namespace inkstone

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "core/half.h"
#include "quant/codec.h"
#include "quant/fit.h"
#include "quant/pack.h"

namespace inkstone {
namespace {

uint32_t AbsBits(float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffffu; }

template <uint16_t (*kConvert)(float)>
void EncodeHalves(const float* src, int64_t elements, std::byte* dst) {
  for (int64_t i = 0; i < elements; ++i) {
    const uint16_t half = kConvert(src[i]);
    std::memcpy(dst + 2 * i, &half, sizeof half);
  }
}

// Fits as many neighbouring blocks at once as fit side by side.
void EncodeBlocks(DType type, const float* src, int64_t elements, std::byte* dst, const float* importance) {
  const FitTable& table = BestFit();
  const BlockShape shape = ShapeOf(type);
  const int at_once = kFitGroups / shape.groups;
  FittedBlock fitted[kFitGroups];
  uint8_t codes[kSuperBlock];
  const int64_t blocks = elements / shape.elements();
  for (int64_t begin = 0; begin < blocks; begin += at_once) {
    const int count = static_cast<int>(std::min<int64_t>(at_once, blocks - begin));
    const float* x = src + begin * shape.elements();
    FitBlocks(table, type, x, importance == nullptr ? nullptr : importance + begin * shape.elements(), count, fitted);
    for (int i = 0; i < count; ++i) {
      table.codes(shape, fitted[i], x + i * shape.elements(), codes);
      PackBlock(type, fitted[i], codes, dst + RowBytes(type, (begin + i) * shape.elements()));
    }
  }
}

}  // namespace

void EncodeRow(DType type, const float* src, int64_t elements, std::byte* dst, const float* importance) {
  switch (type) {
    case DType::kF32:
      if (elements > 0) std::memcpy(dst, src, static_cast<size_t>(elements) * sizeof(float));
      return;
    case DType::kF16:
      return EncodeHalves<F32ToF16>(src, elements, dst);
    case DType::kBF16:
      return EncodeHalves<F32ToBF16>(src, elements, dst);
    default:
      return EncodeBlocks(type, src, elements, dst, importance);
  }
}

float EncodeLimit(DType type) {
  constexpr float kHalfMax = 65504.0f;
  switch (type) {
    case DType::kF32:
      return std::numeric_limits<float>::max();
    case DType::kF16:
      return kHalfMax;
    case DType::kBF16:
      return 0x1.fep127f;
    default:
      break;
  }
  // Offsets reach less far than levels do.
  const BlockShape shape = ShapeOf(type);
  const int largest_scale = std::max(shape.scale_hi, -shape.scale_lo);
  const int reach = shape.levels == Levels::kAffine ? std::max(1, shape.min_hi) : -shape.lo * largest_scale;
  return kHalfMax * static_cast<float>(reach);
}

int64_t FirstBeyond(const float* values, int64_t count, float limit) {
  constexpr int64_t kChunk = 1024;
  const int32_t limit_bits = static_cast<int32_t>(AbsBits(limit));  // NaN and infinity lie above every finite value
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, count);
    int32_t max = 0;  // a vector loop first: the search below runs only when there is something to find
    for (int64_t i = begin; i < end; ++i) max = std::max(max, static_cast<int32_t>(AbsBits(values[i])));
    if (max <= limit_bits) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (static_cast<int32_t>(AbsBits(values[i])) > limit_bits) return i;
    }
  }
  return -1;
}

int64_t FirstNonFinite(const float* values, int64_t count) {
  return FirstBeyond(values, count, std::numeric_limits<float>::max());
}

}  // namespace inkstone

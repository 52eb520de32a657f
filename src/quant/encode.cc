#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/half.h"
#include "quant/blocks.h"
#include "quant/codec.h"

namespace inkstone {
namespace {

// Loops are written so that the compiler vectorizes them without relaxed floating-point rules: maxima are taken over
// the bits of |x|, which order as the values do, and every rounding is spelled out.

uint32_t AbsBits(float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffffu; }

int32_t MaxAbsBits(const float* x) {
  int32_t max = 0;
  for (int i = 0; i < kBlock; ++i) max = std::max(max, static_cast<int32_t>(AbsBits(x[i])));
  return max;
}

// 1 / d; 0 where d is zero or so small that its reciprocal overflows (its binary16 scale is zero then).
float Reciprocal(float d) {
  const float r = 1.0f / d;
  return std::isinf(r) ? 0.0f : r;
}

// Rounds half away from zero, as roundf does.
int RoundHalfAway(float x) {
  const int whole = static_cast<int>(x);
  const float rest = x - static_cast<float>(whole);  // exact
  return whole + (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
}

// The three quantizers below equal ggml's quantize_row_*_ref bit for bit.

void Encode(const float* x, BlockQ8_0* b) {
  const float d = std::bit_cast<float>(MaxAbsBits(x)) / 127.0f;
  const float inverse = Reciprocal(d);
  b->d = F32ToF16(d);
  for (int i = 0; i < kBlock; ++i) b->qs[i] = static_cast<int8_t>(RoundHalfAway(x[i] * inverse));
}

// Packs values 0 .. 15 of 32 elements.
void PackNibbles(const uint8_t q[kBlock], uint8_t qs[16]) {
  for (int i = 0; i < 16; ++i) qs[i] = static_cast<uint8_t>(q[i] | (q[16 + i] << 4));
}

void Encode(const float* x, BlockQ4_0* b) {
  const uint32_t max_bits = static_cast<uint32_t>(MaxAbsBits(x));
  float max = 0.0f;  // with its sign: the first value of the largest magnitude maps to -8
  if (max_bits != 0) max = *std::find_if(x, x + kBlock, [&](float v) { return AbsBits(v) == max_bits; });
  const float d = max / -8.0f;
  const float inverse = Reciprocal(d);
  b->d = F32ToF16(d);
  uint8_t q[kBlock];
  for (int i = 0; i < kBlock; ++i) {
    q[i] = static_cast<uint8_t>(std::min(15, static_cast<int>(x[i] * inverse + 8.5f)));
  }
  PackNibbles(q, b->qs);
}

void Encode(const float* x, BlockQ4_1* b) {
  float min = x[0];
  float max = x[0];
  for (int i = 1; i < kBlock; ++i) {
    min = x[i] < min ? x[i] : min;
    max = x[i] > max ? x[i] : max;
  }
  const float d = (max - min) / 15.0f;
  const float inverse = Reciprocal(d);
  b->d = F32ToF16(d);
  b->m = F32ToF16(min);
  uint8_t q[kBlock];
  for (int i = 0; i < kBlock; ++i) {
    q[i] = static_cast<uint8_t>(std::min(15, static_cast<int>((x[i] - min) * inverse + 0.5f)));
  }
  PackNibbles(q, b->qs);
}

template <typename Block>
void EncodeBlocks(const float* src, int64_t elements, std::byte* dst) {
  Block* blocks = reinterpret_cast<Block*>(dst);
  for (int64_t i = 0; i < elements / kBlock; ++i) Encode(src + i * kBlock, &blocks[i]);
}

template <uint16_t (*kConvert)(float)>
void EncodeHalves(const float* src, int64_t elements, std::byte* dst) {
  for (int64_t i = 0; i < elements; ++i) {
    const uint16_t half = kConvert(src[i]);
    std::memcpy(dst + 2 * i, &half, sizeof half);
  }
}

}  // namespace

bool CanEncode(DType type) {
  return IsFloat(type) || type == DType::kQ8_0 || type == DType::kQ4_0 || type == DType::kQ4_1;
}

void EncodeRow(DType type, const float* src, int64_t elements, std::byte* dst) {
  switch (type) {
    case DType::kF32:
      if (elements > 0) std::memcpy(dst, src, static_cast<size_t>(elements) * sizeof(float));
      return;
    case DType::kF16:
      return EncodeHalves<F32ToF16>(src, elements, dst);
    case DType::kBF16:
      return EncodeHalves<F32ToBF16>(src, elements, dst);
    case DType::kQ8_0:
      return EncodeBlocks<BlockQ8_0>(src, elements, dst);
    case DType::kQ4_0:
      return EncodeBlocks<BlockQ4_0>(src, elements, dst);
    case DType::kQ4_1:
      return EncodeBlocks<BlockQ4_1>(src, elements, dst);
    default:
      return;  // excluded by the precondition
  }
}

float EncodeLimit(DType type) {
  constexpr float kHalfMax = 65504.0f;
  switch (type) {
    case DType::kBF16:
      return 0x1.fep127f;
    case DType::kQ8_0:
      return 127.0f * kHalfMax;
    case DType::kQ4_0:
      return 8.0f * kHalfMax;
    case DType::kF16:
    case DType::kQ4_1:
      return kHalfMax;
    default:
      return std::numeric_limits<float>::max();
  }
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

#include <cstring>

#include "core/half.h"
#include "quant/blocks.h"
#include "quant/codec.h"

namespace inkstone {
namespace {

// Where a group's scale is a product, it is rounded to f32 before it meets the quants, as ggml does.

void Decode(const BlockQ4_0& b, float* y) {
  const float d = F16ToF32(b.d);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>((b.qs[i] & 15) - 8);
    y[16 + i] = d * static_cast<float>((b.qs[i] >> 4) - 8);
  }
}

void Decode(const BlockQ4_1& b, float* y) {
  const float d = F16ToF32(b.d);
  const float m = F16ToF32(b.m);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(b.qs[i] & 15) + m;
    y[16 + i] = d * static_cast<float>(b.qs[i] >> 4) + m;
  }
}

// The five-bit value of element i.
template <typename Block>
int Quant5(const Block& b, int i) {
  const int low = i < 16 ? b.qs[i] & 15 : b.qs[i - 16] >> 4;
  return low | (((b.qh[i / 8] >> (i % 8)) & 1) << 4);
}

void Decode(const BlockQ5_0& b, float* y) {
  const float d = F16ToF32(b.d);
  for (int i = 0; i < kBlock; ++i) y[i] = d * static_cast<float>(Quant5(b, i) - 16);
}

void Decode(const BlockQ5_1& b, float* y) {
  const float d = F16ToF32(b.d);
  const float m = F16ToF32(b.m);
  for (int i = 0; i < kBlock; ++i) y[i] = d * static_cast<float>(Quant5(b, i)) + m;
}

void Decode(const BlockQ8_0& b, float* y) {
  const float d = F16ToF32(b.d);
  for (int i = 0; i < kBlock; ++i) y[i] = d * static_cast<float>(b.qs[i]);
}

void Decode(const BlockQ2_K& b, float* y) {
  const float d = F16ToF32(b.d);
  const float dmin = F16ToF32(b.dmin);
  for (int g = 0; g < 16; ++g) {
    const float scale = d * static_cast<float>(b.scales[g] & 15);
    const float min = dmin * static_cast<float>(b.scales[g] >> 4);
    const uint8_t* qs = b.qs + 32 * (g / 8) + 16 * (g % 2);
    const int shift = 2 * ((g / 2) % 4);
    for (int l = 0; l < 16; ++l) y[16 * g + l] = scale * static_cast<float>((qs[l] >> shift) & 3) - min;
  }
}

void Decode(const BlockQ3_K& b, float* y) {
  const float d = F16ToF32(b.d);
  int8_t scales[16];
  UnpackScalesQ3(b.scales, scales);
  for (int g = 0; g < 16; ++g) {
    const float scale = d * static_cast<float>(scales[g]);
    const uint8_t* qs = b.qs + 32 * (g / 8) + 16 * (g % 2);
    const uint8_t* high = b.hmask + 16 * (g % 2);
    const int shift = 2 * ((g / 2) % 4);
    for (int l = 0; l < 16; ++l) {
      const int q = ((qs[l] >> shift) & 3) | (((high[l] >> (g / 2)) & 1) << 2);
      y[16 * g + l] = scale * static_cast<float>(q - 4);
    }
  }
}

void Decode(const BlockQ4_K& b, float* y) {
  const float d = F16ToF32(b.d);
  const float dmin = F16ToF32(b.dmin);
  uint8_t scales[8], mins[8];
  UnpackScalesK4(b.scales, scales, mins);
  for (int g = 0; g < 8; ++g) {
    const float scale = d * static_cast<float>(scales[g]);
    const float min = dmin * static_cast<float>(mins[g]);
    const uint8_t* qs = b.qs + 32 * (g / 2);
    const int shift = 4 * (g % 2);
    for (int l = 0; l < 32; ++l) y[32 * g + l] = scale * static_cast<float>((qs[l] >> shift) & 15) - min;
  }
}

void Decode(const BlockQ5_K& b, float* y) {
  const float d = F16ToF32(b.d);
  const float dmin = F16ToF32(b.dmin);
  uint8_t scales[8], mins[8];
  UnpackScalesK4(b.scales, scales, mins);
  for (int g = 0; g < 8; ++g) {
    const float scale = d * static_cast<float>(scales[g]);
    const float min = dmin * static_cast<float>(mins[g]);
    const uint8_t* qs = b.qs + 32 * (g / 2);
    const int shift = 4 * (g % 2);
    for (int l = 0; l < 32; ++l) {
      const int q = ((qs[l] >> shift) & 15) | (((b.qh[l] >> g) & 1) << 4);
      y[32 * g + l] = scale * static_cast<float>(q) - min;
    }
  }
}

void Decode(const BlockQ6_K& b, float* y) {
  const float d = F16ToF32(b.d);
  for (int g = 0; g < 16; ++g) {
    const float scale = d * static_cast<float>(b.scales[g]);
    const int j = (g / 2) % 4;
    const uint8_t* low = b.ql + 64 * (g / 8) + 32 * (j % 2) + 16 * (g % 2);
    const uint8_t* high = b.qh + 32 * (g / 8) + 16 * (g % 2);
    for (int l = 0; l < 16; ++l) {
      const int q = ((low[l] >> (4 * (j / 2))) & 15) | (((high[l] >> (2 * j)) & 3) << 4);
      y[16 * g + l] = scale * static_cast<float>(q - 32);
    }
  }
}

void Decode(const BlockIQ4_NL& b, float* y) {
  const float d = F16ToF32(b.d);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(kIQ4Values[b.qs[i] & 15]);
    y[16 + i] = d * static_cast<float>(kIQ4Values[b.qs[i] >> 4]);
  }
}

void Decode(const BlockIQ4_XS& b, float* y) {
  const float d = F16ToF32(b.d);
  int8_t scales[8];
  UnpackScalesIQ4(b, scales);
  for (int g = 0; g < 8; ++g) {
    const float scale = d * static_cast<float>(scales[g]);
    for (int i = 0; i < 16; ++i) {
      y[32 * g + i] = scale * static_cast<float>(kIQ4Values[b.qs[16 * g + i] & 15]);
      y[32 * g + 16 + i] = scale * static_cast<float>(kIQ4Values[b.qs[16 * g + i] >> 4]);
    }
  }
}

template <typename Block, int kElements>
void DecodeBlocks(const std::byte* src, int64_t elements, float* dst) {
  const Block* blocks = reinterpret_cast<const Block*>(src);
  for (int64_t i = 0; i < elements / kElements; ++i) Decode(blocks[i], dst + i * kElements);
}

template <float (*kConvert)(uint16_t)>
void DecodeHalves(const std::byte* src, int64_t elements, float* dst) {
  for (int64_t i = 0; i < elements; ++i) {
    uint16_t half;
    std::memcpy(&half, src + 2 * i, sizeof half);
    dst[i] = kConvert(half);
  }
}

}  // namespace

void DecodeRow(DType type, const std::byte* src, int64_t elements, float* dst) {
  switch (type) {
    case DType::kF32:
      if (elements > 0) std::memcpy(dst, src, static_cast<size_t>(elements) * sizeof(float));
      return;
    case DType::kF16:
      return DecodeHalves<F16ToF32>(src, elements, dst);
    case DType::kBF16:
      return DecodeHalves<BF16ToF32>(src, elements, dst);
    case DType::kQ4_0:
      return DecodeBlocks<BlockQ4_0, kBlock>(src, elements, dst);
    case DType::kQ4_1:
      return DecodeBlocks<BlockQ4_1, kBlock>(src, elements, dst);
    case DType::kQ5_0:
      return DecodeBlocks<BlockQ5_0, kBlock>(src, elements, dst);
    case DType::kQ5_1:
      return DecodeBlocks<BlockQ5_1, kBlock>(src, elements, dst);
    case DType::kQ8_0:
      return DecodeBlocks<BlockQ8_0, kBlock>(src, elements, dst);
    case DType::kQ2_K:
      return DecodeBlocks<BlockQ2_K, kSuperBlock>(src, elements, dst);
    case DType::kQ3_K:
      return DecodeBlocks<BlockQ3_K, kSuperBlock>(src, elements, dst);
    case DType::kQ4_K:
      return DecodeBlocks<BlockQ4_K, kSuperBlock>(src, elements, dst);
    case DType::kQ5_K:
      return DecodeBlocks<BlockQ5_K, kSuperBlock>(src, elements, dst);
    case DType::kQ6_K:
      return DecodeBlocks<BlockQ6_K, kSuperBlock>(src, elements, dst);
    case DType::kIQ4_NL:
      return DecodeBlocks<BlockIQ4_NL, kBlock>(src, elements, dst);
    case DType::kIQ4_XS:
      return DecodeBlocks<BlockIQ4_XS, kSuperBlock>(src, elements, dst);
  }
}

}  // namespace inkstone

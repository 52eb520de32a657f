#include "quant/pack.h"

#include <cstring>

namespace inkstone {
namespace {

uint8_t Byte(int value) { return static_cast<uint8_t>(value); }

// 32 codes of four bits; bits above them are left to others.
void PackNibbles(const uint8_t* q, uint8_t* qs) {
  for (int i = 0; i < 16; ++i) qs[i] = Byte((q[i] & 15) | ((q[16 + i] & 15) << 4));
}

// Bit 4 of 32 codes.
void PackFifthBits(const uint8_t* q, uint8_t* qh) {
  for (int i = 0; i < 4; ++i) {
    int bits = 0;
    for (int k = 0; k < 8; ++k) bits |= (q[8 * i + k] >> 4) << k;
    qh[i] = Byte(bits);
  }
}

// The low two bits of 256 codes as Q2_K and Q3_K have them; Q6_K's upper two as well.
void PackPairs(const uint8_t* q, int shift, uint8_t* qs) {
  for (int h = 0; h < 2; ++h) {
    for (int l = 0; l < 32; ++l) {
      int bits = 0;
      for (int j = 0; j < 4; ++j) bits |= ((q[128 * h + 32 * j + l] >> shift) & 3) << (2 * j);
      qs[32 * h + l] = Byte(bits);
    }
  }
}

void PackScalesK4(const FittedBlock& f, uint8_t packed[12]) {
  for (int j = 0; j < 4; ++j) {
    packed[j] = Byte(f.scale[j] | ((f.scale[4 + j] >> 4) << 6));
    packed[4 + j] = Byte(f.min[j] | ((f.min[4 + j] >> 4) << 6));
    packed[8 + j] = Byte((f.scale[4 + j] & 15) | ((f.min[4 + j] & 15) << 4));
  }
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockQ8_0* b) {
  b->d = f.d;
  for (int i = 0; i < kBlock; ++i) b->qs[i] = static_cast<int8_t>(q[i] - 127);
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockQ4_0* b) {
  b->d = f.d;
  PackNibbles(q, b->qs);
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockQ4_1* b) {
  b->d = f.d;
  b->m = f.dmin;
  PackNibbles(q, b->qs);
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockQ5_0* b) {
  b->d = f.d;
  PackFifthBits(q, b->qh);
  PackNibbles(q, b->qs);
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockQ5_1* b) {
  b->d = f.d;
  b->m = f.dmin;
  PackFifthBits(q, b->qh);
  PackNibbles(q, b->qs);
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockQ2_K* b) {
  b->d = f.d;
  b->dmin = f.dmin;
  for (int g = 0; g < 16; ++g) b->scales[g] = Byte(f.scale[g] | (f.min[g] << 4));
  PackPairs(q, 0, b->qs);
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockQ3_K* b) {
  b->d = f.d;
  PackPairs(q, 0, b->qs);
  for (int l = 0; l < 32; ++l) {
    int bits = 0;
    for (int j = 0; j < 8; ++j) bits |= (q[32 * j + l] >> 2) << j;
    b->hmask[l] = Byte(bits);
  }
  std::memset(b->scales, 0, sizeof b->scales);
  for (int g = 0; g < 16; ++g) {
    const int scale = f.scale[g] + 32;
    b->scales[g % 8] = Byte(b->scales[g % 8] | ((scale & 15) << (4 * (g / 8))));
    b->scales[8 + g % 4] = Byte(b->scales[8 + g % 4] | ((scale >> 4) << (2 * (g / 4))));
  }
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockQ4_K* b) {
  b->d = f.d;
  b->dmin = f.dmin;
  PackScalesK4(f, b->scales);
  for (int i = 0; i < 128; ++i) b->qs[i] = Byte(q[i / 32 * 64 + i % 32] | (q[i / 32 * 64 + 32 + i % 32] << 4));
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockQ5_K* b) {
  b->d = f.d;
  b->dmin = f.dmin;
  PackScalesK4(f, b->scales);
  for (int i = 0; i < 128; ++i) {
    const int at = i / 32 * 64 + i % 32;
    b->qs[i] = Byte((q[at] & 15) | ((q[at + 32] & 15) << 4));
  }
  for (int l = 0; l < 32; ++l) {
    int bits = 0;
    for (int g = 0; g < 8; ++g) bits |= (q[32 * g + l] >> 4) << g;
    b->qh[l] = Byte(bits);
  }
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockQ6_K* b) {
  b->d = f.d;
  std::memcpy(b->scales, f.scale, sizeof b->scales);
  for (int i = 0; i < 128; ++i) {
    const int at = i / 64 * 128 + i % 64;
    b->ql[i] = Byte((q[at] & 15) | ((q[at + 64] & 15) << 4));
  }
  PackPairs(q, 4, b->qh);
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockIQ4_NL* b) {
  b->d = f.d;
  PackNibbles(q, b->qs);
}

void Pack(const FittedBlock& f, const uint8_t* q, BlockIQ4_XS* b) {
  b->d = f.d;
  int high = 0;
  std::memset(b->scales_l, 0, sizeof b->scales_l);
  for (int g = 0; g < 8; ++g) {
    const int scale = f.scale[g] + 32;
    b->scales_l[g / 2] = Byte(b->scales_l[g / 2] | ((scale & 15) << (4 * (g % 2))));
    high |= (scale >> 4) << (2 * g);
    PackNibbles(q + 32 * g, b->qs + 16 * g);
  }
  b->scales_h = static_cast<uint16_t>(high);
}

template <typename Block>
void PackTo(const FittedBlock& f, const uint8_t* q, std::byte* dst) {
  Pack(f, q, reinterpret_cast<Block*>(dst));
}

}  // namespace

void PackBlock(DType type, const FittedBlock& fitted, const uint8_t* codes, std::byte* dst) {
  switch (type) {
    case DType::kQ4_0:
      return PackTo<BlockQ4_0>(fitted, codes, dst);
    case DType::kQ4_1:
      return PackTo<BlockQ4_1>(fitted, codes, dst);
    case DType::kQ5_0:
      return PackTo<BlockQ5_0>(fitted, codes, dst);
    case DType::kQ5_1:
      return PackTo<BlockQ5_1>(fitted, codes, dst);
    case DType::kQ8_0:
      return PackTo<BlockQ8_0>(fitted, codes, dst);
    case DType::kQ2_K:
      return PackTo<BlockQ2_K>(fitted, codes, dst);
    case DType::kQ3_K:
      return PackTo<BlockQ3_K>(fitted, codes, dst);
    case DType::kQ4_K:
      return PackTo<BlockQ4_K>(fitted, codes, dst);
    case DType::kQ5_K:
      return PackTo<BlockQ5_K>(fitted, codes, dst);
    case DType::kQ6_K:
      return PackTo<BlockQ6_K>(fitted, codes, dst);
    case DType::kIQ4_NL:
      return PackTo<BlockIQ4_NL>(fitted, codes, dst);
    case DType::kIQ4_XS:
      return PackTo<BlockIQ4_XS>(fitted, codes, dst);
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      return;  // excluded by the precondition
  }
}

}  // namespace inkstone

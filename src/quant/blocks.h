// Block layouts of the ggml tensor types, as they lie in GGUF files (ggml-common.h of llama.cpp documents them). All
// are packed: they may be read at any address. Half-precision fields hold IEEE binary16 bits (core/half.h).
// "Element i" counts within the block; low nibble means bits 0-3.
#pragma once

#include <cstdint>

namespace inkstone {

inline constexpr int kBlock = 32;        // elements of a simple block
inline constexpr int kSuperBlock = 256;  // elements of a K-quant super-block

// x = d * (q - 8). Element i < 16 is the low nibble of qs[i], element 16 + i its high nibble.
struct [[gnu::packed]] BlockQ4_0 {
  uint16_t d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

// x = d * q + m; nibbles as in Q4_0.
struct [[gnu::packed]] BlockQ4_1 {
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

// x = d * (q - 16); low four bits as in Q4_0, bit 4 of element i is bit i % 8 of qh[i / 8].
struct [[gnu::packed]] BlockQ5_0 {
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

// x = d * q + m; bits as in Q5_0.
struct [[gnu::packed]] BlockQ5_1 {
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

// x = d * q.
struct [[gnu::packed]] BlockQ8_0 {
  uint16_t d;
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

// 16 groups of 16: x = d * (scales[g] & 15) * q - dmin * (scales[g] >> 4). In each half h of 128 elements, element
// 32 * j + l (j < 4, l < 32) is bits 2j, 2j+1 of qs[32 * h + l].
struct [[gnu::packed]] BlockQ2_K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d;
  uint16_t dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

// 16 groups of 16: x = d * scale[g] * (q - 4), scales by UnpackScalesQ3. Low two bits of q as in Q2_K; bit 2 of element
// 32 * j + l (j < 8) is bit j of hmask[l].
struct [[gnu::packed]] BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

// 8 groups of 32: x = d * scale[g] * q - dmin * min[g], by UnpackScalesK4. Groups 2j and 2j+1 are the low and the high
// nibbles of qs[32 * j .. 32 * j + 31].
struct [[gnu::packed]] BlockQ4_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

// As Q4_K; bit 4 of element 32 * g + l is bit g of qh[l].
struct [[gnu::packed]] BlockQ5_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

// 16 groups of 16: x = d * scales[g] * (q - 32). In each half h of 128 elements, element 32 * j + l (j < 4, l < 32) has
// its low four bits in the low (j < 2) or high (j >= 2) nibble of ql[64 * h + 32 * (j % 2) + l] and its upper two in
// bits 2j, 2j+1 of qh[32 * h + l].
struct [[gnu::packed]] BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

// x = d * kIQ4Values[q]; nibbles as in Q4_0.
struct [[gnu::packed]] BlockIQ4_NL {
  uint16_t d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

// 8 groups of 32: x = d * scale[g] * kIQ4Values[q], scales by UnpackScalesIQ4; group g is qs[16 * g ..] with nibbles as
// in Q4_0.
struct [[gnu::packed]] BlockIQ4_XS {
  uint16_t d;
  uint16_t scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

// The non-linear code book of IQ4_NL and IQ4_XS (llama.cpp: kvalues_iq4nl).
inline constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// The eight 6-bit scales and mins of Q4_K and Q5_K: 0 .. 63.
inline void UnpackScalesK4(const uint8_t packed[12], uint8_t scale[8], uint8_t min[8]) {
  for (int j = 0; j < 4; ++j) {
    scale[j] = packed[j] & 63;
    min[j] = packed[4 + j] & 63;
    scale[4 + j] = static_cast<uint8_t>((packed[8 + j] & 15) | ((packed[j] >> 6) << 4));
    min[4 + j] = static_cast<uint8_t>((packed[8 + j] >> 4) | ((packed[4 + j] >> 6) << 4));
  }
}

// The sixteen 6-bit scales of Q3_K, offset removed: -32 .. 31.
inline void UnpackScalesQ3(const uint8_t packed[12], int8_t scale[16]) {
  for (int j = 0; j < 16; ++j) {
    const int low = (packed[j % 8] >> (4 * (j / 8))) & 15;
    const int high = (packed[8 + j % 4] >> (2 * (j / 4))) & 3;
    scale[j] = static_cast<int8_t>((low | (high << 4)) - 32);
  }
}

// The eight 6-bit scales of IQ4_XS, offset removed: -32 .. 31.
inline void UnpackScalesIQ4(const BlockIQ4_XS& block, int8_t scale[8]) {
  for (int j = 0; j < 8; ++j) {
    const int low = (block.scales_l[j / 2] >> (4 * (j % 2))) & 15;
    const int high = (block.scales_h >> (2 * j)) & 3;
    scale[j] = static_cast<int8_t>((low | (high << 4)) - 32);
  }
}

}  // namespace inkstone

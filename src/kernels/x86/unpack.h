// Unpacks 256 consecutive quantized weights into eight 32-byte registers, for each block type (AVX2 and F16C).
// Included by every x86 target; the anonymous namespace keeps each target's copy, and its instruction set, to itself.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "quant/blocks.h"

namespace inkstone {
namespace {

inline constexpr int kPiece = 256;       // weights unpacked at a time
inline constexpr int kPieceBlocks = 8;   // of 32 weights
inline constexpr int kPieceGroups = 16;  // of 16 weights

// Weight 32 * b + i is q[b] byte i; it means scale * (q - kBias) - min with its group's scale and min.
struct Piece {
  __m256i q[kPieceBlocks];
  __m256 scale[2];  // kGroup 32: eight scales in scale[0]; kGroup 16: sixteen
  __m256 min[2];    // only if kHasMin; likewise
};

inline __m256i Load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m256i LoadAligned(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
inline void StoreAligned(void* p, __m256i v) { _mm256_store_si256(static_cast<__m256i*>(p), v); }
inline __m128i Load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline uint32_t Load32(const void* p) {
  uint32_t v;
  memcpy(&v, p, sizeof(v));
  return v;
}
inline __m256 BroadcastHalf(uint16_t h) { return _mm256_set1_ps(_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)))); }

// 16 bytes of nibbles: the low ones to bytes 0-15, the high ones to bytes 16-31.
inline __m256i Nibbles(const uint8_t* qs) {
  const __m128i x = Load128(qs);
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(x, 4), x), _mm256_set1_epi8(15));
}

// Byte i is 0xff where bit i of the 32 bits at `p` is set, else 0.
inline __m256i ExpandBits(const void* p) {
  const __m256i bytes =
      _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(Load32(p))),
                          _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201u));
  return _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
}

inline __m256i CodeBook(__m256i nibbles) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(Load128(kIQ4Values)), nibbles);
}

// Bits [shift, shift + 2) of every byte.
template <int kShift>
inline __m256i TwoBits(__m256i x) {
  return _mm256_and_si256(_mm256_srli_epi16(x, kShift), _mm256_set1_epi8(3));
}

// The f16 field at `offset` of eight blocks that lie `stride` bytes apart.
template <int kStride>
inline __m256 EightHalves(const uint8_t* p) {
  uint16_t h[8];
  for (int i = 0; i < 8; ++i) memcpy(&h[i], p + i * kStride, 2);
  __m128i v = _mm_cvtsi32_si128(h[0]);
  v = _mm_insert_epi16(v, h[1], 1);
  v = _mm_insert_epi16(v, h[2], 2);
  v = _mm_insert_epi16(v, h[3], 3);
  v = _mm_insert_epi16(v, h[4], 4);
  v = _mm_insert_epi16(v, h[5], 5);
  v = _mm_insert_epi16(v, h[6], 6);
  v = _mm_insert_epi16(v, h[7], 7);
  return _mm256_cvtph_ps(v);
}

inline __m256 Negate(__m256 x) { return _mm256_xor_ps(x, _mm256_set1_ps(-0.0f)); }

// Eight unsigned bytes times d.
inline __m256 ScaleBytes(__m256 d, __m128i bytes) {
  return _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)));
}
// Sixteen signed bytes times d.
inline void ScaleSigned16(__m256 d, __m128i bytes, __m256 out[2]) {
  out[0] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
  out[1] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))));
}

// Each type below: Block and kElements, its layout; kGroup, weights that share a scale; kHasMin; kBias, a power of two
// or 0; kSigned, whether q may be negative; kMaxAbs, bound of |q|; Weights, eight registers of q; Scales, the rest of a
// Piece.

struct UnpackQ4_0 {
  using Block = BlockQ4_0;
  static constexpr int kElements = 32, kGroup = 32, kMaxAbs = 15, kBias = 8;
  static constexpr bool kHasMin = false, kSigned = false;
  static inline void Weights(const Block* b, __m256i* q) {
    for (int i = 0; i < 8; ++i) q[i] = Nibbles(b[i].qs);
  }
  static inline void Scales(const Block* b, Piece& p) {
    p.scale[0] = EightHalves<sizeof(Block)>(reinterpret_cast<const uint8_t*>(b));
  }
};

struct UnpackQ4_1 {
  using Block = BlockQ4_1;
  static constexpr int kElements = 32, kGroup = 32, kMaxAbs = 15, kBias = 0;
  static constexpr bool kHasMin = true, kSigned = false;
  static inline void Weights(const Block* b, __m256i* q) {
    for (int i = 0; i < 8; ++i) q[i] = Nibbles(b[i].qs);
  }
  static inline void Scales(const Block* b, Piece& p) {
    p.scale[0] = EightHalves<sizeof(Block)>(reinterpret_cast<const uint8_t*>(b));
    p.min[0] = Negate(EightHalves<sizeof(Block)>(reinterpret_cast<const uint8_t*>(b) + 2));
  }
};

struct UnpackQ5_0 {
  using Block = BlockQ5_0;
  static constexpr int kElements = 32, kGroup = 32, kMaxAbs = 31, kBias = 16;
  static constexpr bool kHasMin = false, kSigned = false;
  static inline void Weights(const Block* b, __m256i* q) {
    for (int i = 0; i < 8; ++i) {
      const __m256i upper = _mm256_and_si256(ExpandBits(b[i].qh), _mm256_set1_epi8(16));
      q[i] = _mm256_or_si256(Nibbles(b[i].qs), upper);
    }
  }
  static inline void Scales(const Block* b, Piece& p) {
    p.scale[0] = EightHalves<sizeof(Block)>(reinterpret_cast<const uint8_t*>(b));
  }
};

struct UnpackQ5_1 {
  using Block = BlockQ5_1;
  static constexpr int kElements = 32, kGroup = 32, kMaxAbs = 31, kBias = 0;
  static constexpr bool kHasMin = true, kSigned = false;
  static inline void Weights(const Block* b, __m256i* q) {
    for (int i = 0; i < 8; ++i) {
      const __m256i upper = _mm256_and_si256(ExpandBits(b[i].qh), _mm256_set1_epi8(16));
      q[i] = _mm256_or_si256(Nibbles(b[i].qs), upper);
    }
  }
  static inline void Scales(const Block* b, Piece& p) {
    p.scale[0] = EightHalves<sizeof(Block)>(reinterpret_cast<const uint8_t*>(b));
    p.min[0] = Negate(EightHalves<sizeof(Block)>(reinterpret_cast<const uint8_t*>(b) + 2));
  }
};

struct UnpackQ8_0 {
  using Block = BlockQ8_0;
  static constexpr int kElements = 32, kGroup = 32, kMaxAbs = 128, kBias = 0;
  static constexpr bool kHasMin = false, kSigned = true;
  static inline void Weights(const Block* b, __m256i* q) {
    for (int i = 0; i < 8; ++i) q[i] = Load256(b[i].qs);
  }
  static inline void Scales(const Block* b, Piece& p) {
    p.scale[0] = EightHalves<sizeof(Block)>(reinterpret_cast<const uint8_t*>(b));
  }
};

struct UnpackIQ4_NL {
  using Block = BlockIQ4_NL;
  static constexpr int kElements = 32, kGroup = 32, kMaxAbs = 127, kBias = 0;
  static constexpr bool kHasMin = false, kSigned = true;
  static inline void Weights(const Block* b, __m256i* q) {
    for (int i = 0; i < 8; ++i) q[i] = CodeBook(Nibbles(b[i].qs));
  }
  static inline void Scales(const Block* b, Piece& p) {
    p.scale[0] = EightHalves<sizeof(Block)>(reinterpret_cast<const uint8_t*>(b));
  }
};

struct UnpackIQ4_XS {
  using Block = BlockIQ4_XS;
  static constexpr int kElements = 256, kGroup = 32, kMaxAbs = 127, kBias = 0;
  static constexpr bool kHasMin = false, kSigned = true;
  static inline void Weights(const Block* b, __m256i* q) {
    for (int i = 0; i < 8; ++i) q[i] = CodeBook(Nibbles(b->qs + 16 * i));
  }
  static inline void Scales(const Block* b, Piece& p) {
    const uint32_t packed = Load32(b->scales_l);
    const __m128i even = _mm_cvtsi32_si128(static_cast<int>(packed & 0x0f0f0f0fu));
    const __m128i odd = _mm_cvtsi32_si128(static_cast<int>((packed >> 4) & 0x0f0f0f0fu));
    const __m256i low = _mm256_cvtepu8_epi32(_mm_unpacklo_epi8(even, odd));
    const __m256i shifted =
        _mm256_srlv_epi32(_mm256_set1_epi32(b->scales_h), _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    const __m256i high = _mm256_slli_epi32(_mm256_and_si256(shifted, _mm256_set1_epi32(3)), 4);
    const __m256i scale = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
    p.scale[0] = _mm256_mul_ps(BroadcastHalf(b->d), _mm256_cvtepi32_ps(scale));
  }
};

struct UnpackQ2_K {
  using Block = BlockQ2_K;
  static constexpr int kElements = 256, kGroup = 16, kMaxAbs = 3, kBias = 0;
  static constexpr bool kHasMin = true, kSigned = false;
  static inline void Weights(const Block* b, __m256i* q) {
    for (int h = 0; h < 2; ++h) {
      const __m256i qs = Load256(b->qs + 32 * h);
      q[4 * h] = TwoBits<0>(qs);
      q[4 * h + 1] = TwoBits<2>(qs);
      q[4 * h + 2] = TwoBits<4>(qs);
      q[4 * h + 3] = TwoBits<6>(qs);
    }
  }
  static inline void Scales(const Block* b, Piece& p) {
    const __m128i scales = Load128(b->scales);
    const __m128i fifteen = _mm_set1_epi8(15);
    ScaleSigned16(BroadcastHalf(b->d), _mm_and_si128(scales, fifteen), p.scale);
    ScaleSigned16(BroadcastHalf(b->dmin), _mm_and_si128(_mm_srli_epi16(scales, 4), fifteen), p.min);
  }
};

struct UnpackQ3_K {
  using Block = BlockQ3_K;
  static constexpr int kElements = 256, kGroup = 16, kMaxAbs = 7, kBias = 4;
  static constexpr bool kHasMin = false, kSigned = false;
  // Bit kBit of every byte, moved to bit 2.
  template <int kBit>
  static inline __m256i Third(__m256i mask) {
    const __m256i bit = _mm256_and_si256(mask, _mm256_set1_epi8(static_cast<char>(1 << kBit)));
    if constexpr (kBit < 2) return _mm256_slli_epi16(bit, 2 - kBit);
    return _mm256_srli_epi16(bit, kBit < 2 ? 0 : kBit - 2);
  }
  template <int kHalf>
  static inline void UnpackHalf(const Block* b, __m256i mask, __m256i* q) {
    const __m256i qs = Load256(b->qs + 32 * kHalf);
    q[4 * kHalf] = _mm256_or_si256(TwoBits<0>(qs), Third<4 * kHalf>(mask));
    q[4 * kHalf + 1] = _mm256_or_si256(TwoBits<2>(qs), Third<4 * kHalf + 1>(mask));
    q[4 * kHalf + 2] = _mm256_or_si256(TwoBits<4>(qs), Third<4 * kHalf + 2>(mask));
    q[4 * kHalf + 3] = _mm256_or_si256(TwoBits<6>(qs), Third<4 * kHalf + 3>(mask));
  }
  static inline void Weights(const Block* b, __m256i* q) {
    const __m256i mask = Load256(b->hmask);
    UnpackHalf<0>(b, mask, q);
    UnpackHalf<1>(b, mask, q);
  }
  static inline void Scales(const Block* b, Piece& p) {
    const uint32_t u0 = Load32(b->scales), u1 = Load32(b->scales + 4), u2 = Load32(b->scales + 8);
    constexpr uint32_t kLow = 0x0f0f0f0fu, kHigh = 0x03030303u;
    const __m128i scales = _mm_setr_epi32(static_cast<int>((u0 & kLow) | ((u2 & kHigh) << 4)),
                                          static_cast<int>((u1 & kLow) | (((u2 >> 2) & kHigh) << 4)),
                                          static_cast<int>(((u0 >> 4) & kLow) | (((u2 >> 4) & kHigh) << 4)),
                                          static_cast<int>(((u1 >> 4) & kLow) | (((u2 >> 6) & kHigh) << 4)));
    ScaleSigned16(BroadcastHalf(b->d), _mm_sub_epi8(scales, _mm_set1_epi8(32)), p.scale);
  }
};

// Scales and mins of Q4_K and Q5_K.
template <class Block>
inline void UnpackScales4K(const Block* b, Piece& p) {
  const uint32_t u0 = Load32(b->scales), u1 = Load32(b->scales + 4), u2 = Load32(b->scales + 8);
  constexpr uint32_t kSix = 0x3f3f3f3fu, kFour = 0x0f0f0f0fu, kTwo = 0x03030303u;
  const uint64_t scale = (u0 & kSix) | (static_cast<uint64_t>((u2 & kFour) | (((u0 >> 6) & kTwo) << 4)) << 32);
  const uint64_t min = (u1 & kSix) | (static_cast<uint64_t>(((u2 >> 4) & kFour) | (((u1 >> 6) & kTwo) << 4)) << 32);
  p.scale[0] = ScaleBytes(BroadcastHalf(b->d), _mm_cvtsi64_si128(static_cast<int64_t>(scale)));
  p.min[0] = ScaleBytes(BroadcastHalf(b->dmin), _mm_cvtsi64_si128(static_cast<int64_t>(min)));
}

struct UnpackQ4_K {
  using Block = BlockQ4_K;
  static constexpr int kElements = 256, kGroup = 32, kMaxAbs = 15, kBias = 0;
  static constexpr bool kHasMin = true, kSigned = false;
  static inline void Weights(const Block* b, __m256i* q) {
    const __m256i fifteen = _mm256_set1_epi8(15);
    for (int j = 0; j < 4; ++j) {
      const __m256i qs = Load256(b->qs + 32 * j);
      q[2 * j] = _mm256_and_si256(qs, fifteen);
      q[2 * j + 1] = _mm256_and_si256(_mm256_srli_epi16(qs, 4), fifteen);
    }
  }
  static inline void Scales(const Block* b, Piece& p) { UnpackScales4K(b, p); }
};

struct UnpackQ5_K {
  using Block = BlockQ5_K;
  static constexpr int kElements = 256, kGroup = 32, kMaxAbs = 31, kBias = 0;
  static constexpr bool kHasMin = true, kSigned = false;
  // Bit kBit of every byte, moved to bit 4.
  template <int kBit>
  static inline __m256i Fifth(__m256i qh) {
    const __m256i bit = _mm256_and_si256(qh, _mm256_set1_epi8(static_cast<char>(1 << kBit)));
    if constexpr (kBit < 4) return _mm256_slli_epi16(bit, 4 - kBit);
    return _mm256_srli_epi16(bit, kBit < 4 ? 0 : kBit - 4);
  }
  template <int kPair>
  static inline void UnpackPair(const Block* b, __m256i qh, __m256i* q) {
    const __m256i fifteen = _mm256_set1_epi8(15);
    const __m256i qs = Load256(b->qs + 32 * kPair);
    q[2 * kPair] = _mm256_or_si256(_mm256_and_si256(qs, fifteen), Fifth<2 * kPair>(qh));
    q[2 * kPair + 1] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(qs, 4), fifteen), Fifth<2 * kPair + 1>(qh));
  }
  static inline void Weights(const Block* b, __m256i* q) {
    const __m256i qh = Load256(b->qh);
    UnpackPair<0>(b, qh, q);
    UnpackPair<1>(b, qh, q);
    UnpackPair<2>(b, qh, q);
    UnpackPair<3>(b, qh, q);
  }
  static inline void Scales(const Block* b, Piece& p) { UnpackScales4K(b, p); }
};

struct UnpackQ6_K {
  using Block = BlockQ6_K;
  static constexpr int kElements = 256, kGroup = 16, kMaxAbs = 63, kBias = 32;
  static constexpr bool kHasMin = false, kSigned = false;
  static inline __m256i Join(__m256i low, __m256i high) {
    return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(15)), _mm256_slli_epi16(high, 4));
  }
  static inline void Weights(const Block* b, __m256i* q) {
    for (int h = 0; h < 2; ++h) {
      const __m256i l0 = Load256(b->ql + 64 * h);
      const __m256i l1 = Load256(b->ql + 64 * h + 32);
      const __m256i high = Load256(b->qh + 32 * h);
      q[4 * h] = Join(l0, TwoBits<0>(high));
      q[4 * h + 1] = Join(l1, TwoBits<2>(high));
      q[4 * h + 2] = Join(_mm256_srli_epi16(l0, 4), TwoBits<4>(high));
      q[4 * h + 3] = Join(_mm256_srli_epi16(l1, 4), TwoBits<6>(high));
    }
  }
  static inline void Scales(const Block* b, Piece& p) {
    ScaleSigned16(BroadcastHalf(b->d), Load128(b->scales), p.scale);
  }
};

// Bytes of kPiece weights of a type.
template <class U>
inline constexpr int64_t kPieceBytes = kPiece / U::kElements* static_cast<int64_t>(sizeof(typename U::Block));

template <class U>
inline int64_t RowBytesOf(int64_t cols) {
  return cols / U::kElements * static_cast<int64_t>(sizeof(typename U::Block));
}

// Calls body(const Block*) with piece `index` of a row of `cols` weights; what the row lacks of a whole piece reads as
// zero bytes.
template <class U, class Body>
[[gnu::always_inline]] inline void WithPiece(const std::byte* row, int64_t index, int64_t cols, Body&& body) {
  using Block = typename U::Block;
  const std::byte* src = row + index * kPieceBytes<U>;
  const int64_t left = cols - index * kPiece;
  if (U::kElements == kPiece || left >= kPiece) return body(reinterpret_cast<const Block*>(src));
  std::byte padded[kPieceBytes<U>] = {};
  memcpy(padded, src, static_cast<size_t>(left / U::kElements) * sizeof(Block));
  body(reinterpret_cast<const Block*>(padded));
}

template <class U>
inline void UnpackPiece(const std::byte* row, int64_t index, int64_t cols, Piece& p) {
  WithPiece<U>(row, index, cols, [&](const typename U::Block* b) {
    U::Weights(b, p.q);
    U::Scales(b, p);
  });
}

// 32 weights' bytes with the bias taken off.
template <class U>
inline __m256i WithoutBias(__m256i q) {
  if constexpr (U::kBias == 0) return q;
  return _mm256_sub_epi8(q, _mm256_set1_epi8(U::kBias));
}

// Calls visit.template operator()<UnpackX>() for a block-quantized type that does not always take
// ActivationFormat::kSteps.
template <class Visitor>
inline void VisitWithoutSteps(DType type, Visitor&& visit) {
  switch (type) {
    case DType::kQ4_0:
      return visit.template operator()<UnpackQ4_0>();
    case DType::kQ8_0:
      return visit.template operator()<UnpackQ8_0>();
    case DType::kQ4_1:
      return visit.template operator()<UnpackQ4_1>();
    case DType::kQ5_0:
      return visit.template operator()<UnpackQ5_0>();
    case DType::kQ5_1:
      return visit.template operator()<UnpackQ5_1>();
    case DType::kQ2_K:
      return visit.template operator()<UnpackQ2_K>();
    case DType::kQ3_K:
      return visit.template operator()<UnpackQ3_K>();
    case DType::kIQ4_NL:
      return visit.template operator()<UnpackIQ4_NL>();
    case DType::kIQ4_XS:
      return visit.template operator()<UnpackIQ4_XS>();
    default:
      return;
  }
}

// The same for every block-quantized type.
template <class Visitor>
inline void VisitQuantized(DType type, Visitor&& visit) {
  switch (type) {
    case DType::kQ4_K:
      return visit.template operator()<UnpackQ4_K>();
    case DType::kQ5_K:
      return visit.template operator()<UnpackQ5_K>();
    case DType::kQ6_K:
      return visit.template operator()<UnpackQ6_K>();
    default:
      return VisitWithoutSteps(type, visit);
  }
}

}  // namespace
}  // namespace inkstone

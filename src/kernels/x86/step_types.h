// The block types that take activations of steps.h, eight rows of weights at a time, transposed so that lanes are rows.
// One copy per target, as in unpack.h.
#pragma once

#include "kernels/simd/matmul_common.h"
#include "kernels/x86/steps.h"
#include "kernels/x86/unpack.h"

namespace inkstone {
namespace {

// GCC would make functions of parts of the kernel and pass their vectors through memory.
#define INKSTONE_INLINE __attribute__((always_inline))

inline constexpr int kStepRows = 8;

INKSTONE_INLINE inline __m256i SetDword(uint32_t dword) { return _mm256_set1_epi32(static_cast<int>(dword)); }

// Dword k of the 16 bytes at `p` of each of eight rows, `stride` bytes apart.
INKSTONE_INLINE inline void LoadTransposed16(const std::byte* p, int64_t stride, __m256i* v) {
  __m256i r[4];
  Unroll<4>([&](auto i) INKSTONE_INLINE {
    const __m128i low = Load128(p + i * stride);
    r[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), Load128(p + (i + 4) * stride), 1);
  });
  const __m256i a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpackhi_epi32(r[0], r[1]);
  const __m256i c = _mm256_unpacklo_epi32(r[2], r[3]), d = _mm256_unpackhi_epi32(r[2], r[3]);
  v[0] = _mm256_unpacklo_epi64(a, c);
  v[1] = _mm256_unpackhi_epi64(a, c);
  v[2] = _mm256_unpacklo_epi64(b, d);
  v[3] = _mm256_unpackhi_epi64(b, d);
}
INKSTONE_INLINE inline void LoadTransposed32(const std::byte* p, int64_t stride, __m256i* v) {
  LoadTransposed16(p, stride, v);
  LoadTransposed16(p + 16, stride, v + 4);
}

// Bytes `low` and `high` of every dword in its words, extended by zeros; -1: a zero.
template <int kLow, int kHigh>
INKSTONE_INLINE inline __m256i BytesToWords(__m256i v) {
  const auto word = [](int dword, int byte) {
    return byte < 0 ? 0x8080u : 0x8000u | static_cast<uint32_t>(4 * dword + byte);
  };
  const auto pick = [&](int dword) { return static_cast<int>(word(dword, kLow) | word(dword, kHigh) << 16); };
  const __m128i picks = _mm_setr_epi32(pick(0), pick(1), pick(2), pick(3));
  return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(picks));
}
// The same, signed.
template <int kLow, int kHigh>
INKSTONE_INLINE inline __m256i SignedBytesToWords(__m256i v) {
  const auto word = [](int dword, int byte) {
    return byte < 0 ? 0x8080u : 0x80u | static_cast<uint32_t>(4 * dword + byte) << 8;
  };
  const auto pick = [&](int dword) { return static_cast<int>(word(dword, kLow) | word(dword, kHigh) << 16); };
  const __m128i picks = _mm_setr_epi32(pick(0), pick(1), pick(2), pick(3));
  return _mm256_srai_epi16(_mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(picks)), 8);
}

// The f16 values in the low and in the high words of the dwords.
struct HalfPairs {
  __m256 low;
  __m256 high;
};
INKSTONE_INLINE inline HalfPairs ConvertHalfPairs(__m256i v) {
  const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(apart)), 0xd8);
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
}

// The f16 field at `p` of each of eight rows.
INKSTONE_INLINE inline __m256 HalfOfRows(const std::byte* p, int64_t stride) {
  const auto half = [&](int64_t i) INKSTONE_INLINE {
    uint16_t h;
    memcpy(&h, p + i * stride, sizeof(h));
    return static_cast<int>(h);
  };
  __m128i halves = _mm_cvtsi32_si128(half(0));
  halves = _mm_insert_epi16(halves, half(1), 1);
  halves = _mm_insert_epi16(halves, half(2), 2);
  halves = _mm_insert_epi16(halves, half(3), 3);
  halves = _mm_insert_epi16(halves, half(4), 4);
  halves = _mm_insert_epi16(halves, half(5), 5);
  halves = _mm_insert_epi16(halves, half(6), 6);
  halves = _mm_insert_epi16(halves, half(7), 7);
  return _mm256_cvtph_ps(halves);
}

// What a type reads of a StepPiece.
template <class S>
INKSTONE_INLINE inline bool HasRemainders(const StepPiece& x, int64_t b) {
  return ((S::kFine ? x.fine : x.coarse) >> b & 1) != 0;
}
template <class S>
INKSTONE_INLINE inline const uint32_t* HighSums(const StepPiece& x) {
  return S::kFine ? x.high16 : x.high32;
}
template <class S>
INKSTONE_INLINE inline const uint32_t* LowSums(const StepPiece& x) {
  return S::kFine ? x.low16 : x.low32;
}
// The sum of values 32 * b .. 32 * b + 31 for readers of `coarse`.
INKSTONE_INLINE inline int32_t BlockTotal(const StepPiece& x, int64_t b) {
  const int64_t shift = b % 2 * 16;
  return static_cast<int16_t>(x.high32[b / 2] >> shift) * 256 + static_cast<int16_t>(x.low32[b / 2] >> shift);
}

// K-quants: Block; kBits of a weight; kFine, of StepPiece; Load, what a piece of eight rows needs for all its columns;
// LoadPair<i>, for blocks 2i and 2i + 1; Columns<b>, weights 4k .. 4k+3 of block b in dword k, unsigned (types of eight
// bits: unless kUnsigned is false); Scales<i, j>, the integer scales of groups i and j of 16 columns in the words of a
// dword (j from the same four groups; -1: zero); SumWords<i>, what sum i of StepPiece is multiplied with, of kSums;
// kShift: their products, shifted, are taken off the integers; 0: they have a factor of their own; Factors, of both.

template <class BlockType>
struct StepsK4 {  // what Q4_K and Q5_K share: nibbles, and eight scales and mins of six bits
  using Block = BlockType;
  static constexpr bool kFine = false;
  static constexpr bool kOwnScales = false;
  static constexpr int kSums = kPieceBlocks / 2, kShift = 0;
  __m256i header[4];  // d and dmin, and the packed scales
  __m256i scale[2], min[2];
  __m256i nibbles[8];  // of a pair of blocks

  INKSTONE_INLINE inline void Load(const std::byte* p, int64_t stride) {
    LoadTransposed16(p, stride, header);
    const __m256i six = _mm256_set1_epi8(0x3f), four = _mm256_set1_epi8(0x0f), two = _mm256_set1_epi8(0x30);
    const auto upper = [&](__m256i v) { return _mm256_and_si256(_mm256_srli_epi16(v, 2), two); };
    scale[0] = _mm256_and_si256(header[1], six);
    min[0] = _mm256_and_si256(header[2], six);
    scale[1] = _mm256_or_si256(_mm256_and_si256(header[3], four), upper(header[1]));
    min[1] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(header[3], 4), four), upper(header[2]));
  }
  template <int kLow, int kHigh>
  INKSTONE_INLINE inline __m256i Scales() const {
    return BytesToWords<kLow / 2 % 4, (kHigh < 0 ? kHigh : kHigh / 2 % 4)>(scale[kLow / 8]);
  }
  template <int kPair>
  INKSTONE_INLINE inline void LoadPair(const std::byte* p, int64_t stride) {
    LoadTransposed32(p + offsetof(Block, qs) + 32 * kPair, stride, nibbles);
  }
  template <int kBlock>
  INKSTONE_INLINE inline __m256i Nibbles(int k) const {
    const __m256i v = kBlock % 2 == 0 ? nibbles[k] : _mm256_srli_epi16(nibbles[k], 4);
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
  }
  template <int kIndex>
  INKSTONE_INLINE inline __m256i SumWords() const {
    return BytesToWords<kIndex * 2 % 4, kIndex * 2 % 4 + 1>(min[kIndex / 2]);
  }
  INKSTONE_INLINE inline HalfPairs Factors() const { return ConvertHalfPairs(header[0]); }
};

struct StepsQ4_K : StepsK4<BlockQ4_K> {
  static constexpr int kBits = 4;

  template <int kBlock>
  INKSTONE_INLINE inline __m256i Columns(int k) const {
    return Nibbles<kBlock>(k);
  }
};

struct StepsQ5_K : StepsK4<BlockQ5_K> {
  static constexpr int kBits = 5;
  __m256i fifth[8];

  INKSTONE_INLINE inline void Load(const std::byte* p, int64_t stride) {
    StepsK4::Load(p, stride);
    LoadTransposed32(p + offsetof(BlockQ5_K, qh), stride, fifth);
  }
  template <int kBlock>
  INKSTONE_INLINE inline __m256i Columns(int k) const {
    return _mm256_or_si256(Nibbles<kBlock>(k), UnpackQ5_K::Fifth<kBlock>(fifth[k]));
  }
};

struct StepsQ6_K {
  using Block = BlockQ6_K;
  static constexpr int kBits = 6;
  static constexpr bool kFine = true;
  static constexpr bool kOwnScales = false;
  static constexpr int kSums = kPieceGroups / 2, kShift = 5;
  __m256i scale[4];
  __m256i low[16], high[8];  // of half a piece
  __m256 d;

  INKSTONE_INLINE inline void Load(const std::byte* p, int64_t stride) {
    LoadTransposed16(p + offsetof(BlockQ6_K, scales), stride, scale);
    d = HalfOfRows(p + offsetof(BlockQ6_K, d), stride);
  }
  template <int kPair>
  INKSTONE_INLINE inline void LoadPair(const std::byte* p, int64_t stride) {
    if constexpr (kPair % 2 == 0) {
      LoadTransposed32(p + offsetof(BlockQ6_K, ql) + 32 * kPair, stride, low);
      LoadTransposed32(p + offsetof(BlockQ6_K, ql) + 32 * kPair + 32, stride, low + 8);
      LoadTransposed32(p + offsetof(BlockQ6_K, qh) + 16 * kPair, stride, high);
    }
  }
  template <int kBlock>
  INKSTONE_INLINE inline __m256i Columns(int k) const {
    constexpr int j = kBlock % 4;
    const __m256i v = low[8 * (j % 2) + k];
    const __m256i upper = j < 2 ? _mm256_slli_epi16(high[k], 4 - 2 * (j % 2)) : _mm256_srli_epi16(high[k], 2 * (j % 2));
    return _mm256_or_si256(_mm256_and_si256(j < 2 ? v : _mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)),
                           _mm256_and_si256(upper, _mm256_set1_epi8(0x30)));
  }
  template <int kLow, int kHigh>
  INKSTONE_INLINE inline __m256i Scales() const {
    return SignedBytesToWords<kLow % 4, (kHigh < 0 ? kHigh : kHigh % 4)>(scale[kLow / 4]);
  }
  template <int kIndex>
  INKSTONE_INLINE inline __m256i SumWords() const {
    return SignedBytesToWords<kIndex * 2 % 4, kIndex * 2 % 4 + 1>(scale[kIndex / 2]);
  }
  INKSTONE_INLINE inline HalfPairs Factors() const { return {.low = d, .high = _mm256_setzero_ps()}; }
};

// The 16 values of IQ4_NL and IQ4_XS, or 128 more than they are.
template <bool kUnsigned>
INKSTONE_INLINE inline __m256i IQ4Values(__m256i nibbles) {
  __m128i values = Load128(kIQ4Values);
  if (kUnsigned) values = _mm_xor_si128(values, _mm_set1_epi8(-128));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles);
}

template <bool kUnsigned>
struct StepsIQ4_XS {
  using Block = BlockIQ4_XS;
  static constexpr int kBits = 8;
  static constexpr bool kFine = false;
  static constexpr bool kOwnScales = false;
  static constexpr int kSums = kUnsigned ? kPieceBlocks / 2 : 0, kShift = 7;
  __m256i scale[2];  // of blocks 0, 2, 4, 6 and of the others
  __m256i nibbles[8];
  __m256 d;

  INKSTONE_INLINE inline void Load(const std::byte* p, int64_t stride) {
    __m256i header[4];  // d and scales_h, scales_l
    LoadTransposed16(p, stride, header);
    d = ConvertHalfPairs(header[0]).low;
    const auto mask = [](uint32_t bytes) INKSTONE_INLINE { return SetDword(bytes); };
    // Byte i: the four high bits of blocks 2i and 2i + 1.
    const __m128i upper = _mm_setr_epi8(2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15);
    const __m256i pairs = _mm256_shuffle_epi8(header[0], _mm256_broadcastsi128_si256(upper));
    const __m256i high = _mm256_or_si256(_mm256_and_si256(pairs, mask(0x000f000f)),
                                         _mm256_and_si256(_mm256_srli_epi16(pairs, 4), mask(0x0f000f00)));
    const __m256i low[2] = {header[1], _mm256_srli_epi16(header[1], 4)};
    const __m256i two[2] = {_mm256_slli_epi16(high, 4), _mm256_slli_epi16(high, 2)};
    Unroll<2>([&](auto i) INKSTONE_INLINE {
      const __m256i six =
          _mm256_or_si256(_mm256_and_si256(low[i], mask(0x0f0f0f0f)), _mm256_and_si256(two[i], mask(0x30303030)));
      scale[i] = _mm256_sub_epi8(six, _mm256_set1_epi8(32));
    });
  }
  template <int kPair>
  INKSTONE_INLINE inline void LoadPair(const std::byte* p, int64_t stride) {
    LoadTransposed32(p + offsetof(BlockIQ4_XS, qs) + 32 * kPair, stride, nibbles);
  }
  template <int kBlock>
  INKSTONE_INLINE inline __m256i Columns(int k) const {
    const __m256i v = nibbles[4 * (kBlock % 2) + k % 4];
    return IQ4Values<kUnsigned>(_mm256_and_si256(k < 4 ? v : _mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)));
  }
  template <int kLow, int kHigh>
  INKSTONE_INLINE inline __m256i Scales() const {
    return SignedBytesToWords<kLow / 4, (kHigh < 0 ? kHigh : kHigh / 4)>(scale[kLow / 2 % 2]);
  }
  template <int kIndex>
  INKSTONE_INLINE inline __m256i SumWords() const {
    return _mm256_or_si256(SignedBytesToWords<kIndex, -1>(scale[0]), SignedBytesToWords<-1, kIndex>(scale[1]));
  }
  INKSTONE_INLINE inline HalfPairs Factors() const { return {.low = d, .high = _mm256_setzero_ps()}; }
};

// Types whose 32 weights have a scale in f16: Load, one block of eight rows; Columns(k), weights 4k .. 4k+3 in dword k;
// kBias, to be taken off them.

template <class BlockType>
struct StepsNibbles {  // what Q4_0 and IQ4_NL share
  using Block = BlockType;
  static constexpr bool kFine = false, kOwnScales = true;
  __m256 d;
  __m256i nibbles[4];

  INKSTONE_INLINE inline void Load(const std::byte* p, int64_t stride) {
    d = HalfOfRows(p + offsetof(Block, d), stride);
    LoadTransposed16(p + offsetof(Block, qs), stride, nibbles);
  }
  INKSTONE_INLINE inline __m256i Nibbles(int k) const {
    const __m256i v = k < 4 ? nibbles[k] : _mm256_srli_epi16(nibbles[k - 4], 4);
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
  }
};

struct StepsQ4_0 : StepsNibbles<BlockQ4_0> {
  static constexpr int kBits = 4, kBias = 8;

  INKSTONE_INLINE inline __m256i Columns(int k) const { return Nibbles(k); }
};

template <bool kUnsigned>
struct StepsIQ4_NL : StepsNibbles<BlockIQ4_NL> {
  static constexpr int kBits = 8, kBias = kUnsigned ? 128 : 0;

  INKSTONE_INLINE inline __m256i Columns(int k) const { return IQ4Values<kUnsigned>(Nibbles(k)); }
};

// Meets all 15 bits of the activations: Words(k), weights 2k and 2k + 1 in the words of dword k.
struct StepsQ8_0 {
  using Block = BlockQ8_0;
  static constexpr int kBits = 8;
  static constexpr bool kOwnScales = true;
  __m256 d;
  __m256i bytes[8];

  INKSTONE_INLINE inline void Load(const std::byte* p, int64_t stride) {
    d = HalfOfRows(p + offsetof(BlockQ8_0, d), stride);
    LoadTransposed32(p + offsetof(BlockQ8_0, qs), stride, bytes);
  }
  INKSTONE_INLINE inline __m256i Words(int k) const {
    return k % 2 == 0 ? SignedBytesToWords<0, 1>(bytes[k / 2]) : SignedBytesToWords<2, 3>(bytes[k / 2]);
  }
};
template <class S>
inline constexpr bool kOfWords = requires(S s) {
  s.Words(0);
};

// What the bias of block `b` makes of a token's sum.
template <class S>
INKSTONE_INLINE inline uint32_t TakenOff(const StepPiece& x, int64_t b) {
  if constexpr (requires { S::kBias; }) {
    if (S::kBias != 0) return static_cast<uint32_t>(-S::kBias * BlockTotal(x, b));
  }
  return 0;
}

}  // namespace
}  // namespace inkstone

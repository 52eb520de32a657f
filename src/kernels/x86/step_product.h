// Products of K-quants with activations of steps.h: eight rows of weights at a time, transposed on the way, so that
// lanes are rows. One copy per target, as in unpack.h.
//
// Order of sums, in both phases: each piece of 256 columns gives exact integers for the scales and for the mins; pieces
// are added in order, in f32, and the sum is multiplied with the token's scale. So bits do not depend on the way taken.
#pragma once

#include <array>
#include <bit>

#include "kernels/simd/matmul_common.h"
#include "kernels/x86/steps.h"
#include "kernels/x86/unpack.h"

namespace inkstone {
namespace {

// GCC would make functions of parts of the kernel and pass their vectors through memory.
#define INKSTONE_INLINE __attribute__((always_inline))

inline constexpr int kStepRows = 8;
// Tokens that share the unpacking of weights.
inline constexpr int kStepTokens = 16;
// Rows that pass over a prompt's activations together, as kPanelBlock of panel_product.h.
inline constexpr int64_t kStepBlock = 256;

struct alignas(64) StepScratch {
  float sums[kStepBlock / kStepRows][kTokenChunk * kStepRows];
};

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

// A step in both words where both are multiplied, in the low word only where the high one of the scale is zero.
INKSTONE_INLINE inline __m256i TimesStep(__m256i scale, uint32_t step) {
  return _mm256_mullo_epi16(scale, SetDword(step));
}

// Each type below: Block; kBits of a weight; Load, what a piece of eight rows needs for all its columns; Columns32<b>,
// weights 4k .. 4k+3 of block b in dword k, unsigned; Scale<K, g>, the integer scale of 16 columns in the words that K
// wants; Finish, adds a piece's integers to a sum.

// Sums of a piece of one token: of the scaled products, and of mins or scales times sums of activations.
struct PieceSums {
  __m256i dot;
  __m256i high;  // times 256
  __m256i low;
};

INKSTONE_INLINE inline void AddTotals(__m256i words, uint32_t high, uint32_t low, PieceSums& sums) {
  sums.high = _mm256_add_epi32(sums.high, _mm256_madd_epi16(words, SetDword(high)));
  sums.low = _mm256_add_epi32(sums.low, _mm256_madd_epi16(words, SetDword(low)));
}
INKSTONE_INLINE inline __m256i Totals(const PieceSums& sums) {
  return _mm256_add_epi32(_mm256_slli_epi32(sums.high, 8), sums.low);
}

template <class BlockType>
struct StepsK4 {  // what Q4_K and Q5_K share: eight scales and mins of six bits
  using Block = BlockType;
  static constexpr bool kFine = false;
  __m256i header[4];  // d and dmin, and the packed scales
  __m256i scale[2], min[2];

  INKSTONE_INLINE inline void Load(const std::byte* p, int64_t stride) {
    LoadTransposed16(p, stride, header);
    const __m256i six = _mm256_set1_epi8(0x3f), four = _mm256_set1_epi8(0x0f), two = _mm256_set1_epi8(0x30);
    const auto upper = [&](__m256i v) { return _mm256_and_si256(_mm256_srli_epi16(v, 2), two); };
    scale[0] = _mm256_and_si256(header[1], six);
    min[0] = _mm256_and_si256(header[2], six);
    scale[1] = _mm256_or_si256(_mm256_and_si256(header[3], four), upper(header[1]));
    min[1] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(header[3], 4), four), upper(header[2]));
  }
  template <class K, int kGroup>
  INKSTONE_INLINE inline __m256i Scale() const {
    constexpr int b = kGroup / 2;
    return BytesToWords < b % 4, K::kBothWords ? b % 4 : -1 > (scale[b / 4]);
  }
  template <int kPair>
  INKSTONE_INLINE inline void AddSums(const StepPiece& x, PieceSums& sums) const {
    AddTotals(BytesToWords<kPair * 2 % 4, kPair * 2 % 4 + 1>(min[kPair / 2]), x.high32[kPair], x.low32[kPair], sums);
  }
  INKSTONE_INLINE inline __m256 Finish(const PieceSums& sums, __m256 sum) const {
    const HalfPairs d = ConvertHalfPairs(header[0]);
    sum = _mm256_fmadd_ps(d.low, _mm256_cvtepi32_ps(sums.dot), sum);
    return _mm256_fnmadd_ps(d.high, _mm256_cvtepi32_ps(Totals(sums)), sum);
  }
};

struct StepsQ4_K : StepsK4<BlockQ4_K> {
  static constexpr int kBits = 4;
  __m256i nibbles[8];

  template <int kPair>
  INKSTONE_INLINE inline void LoadPair(const std::byte* p, int64_t stride) {
    LoadTransposed32(p + offsetof(BlockQ4_K, qs) + 32 * kPair, stride, nibbles);
  }
  template <int kBlock>
  INKSTONE_INLINE inline __m256i Columns(int k) const {
    const __m256i v = kBlock % 2 == 0 ? nibbles[k] : _mm256_srli_epi16(nibbles[k], 4);
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
  }
};

struct StepsQ5_K : StepsK4<BlockQ5_K> {
  static constexpr int kBits = 5;
  __m256i nibbles[8], fifth[8];

  INKSTONE_INLINE inline void Load(const std::byte* p, int64_t stride) {
    StepsK4::Load(p, stride);
    LoadTransposed32(p + offsetof(BlockQ5_K, qh), stride, fifth);
  }
  template <int kPair>
  INKSTONE_INLINE inline void LoadPair(const std::byte* p, int64_t stride) {
    LoadTransposed32(p + offsetof(BlockQ5_K, qs) + 32 * kPair, stride, nibbles);
  }
  template <int kBlock>
  INKSTONE_INLINE inline __m256i Columns(int k) const {
    const __m256i v = kBlock % 2 == 0 ? nibbles[k] : _mm256_srli_epi16(nibbles[k], 4);
    return _mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi8(15)), UnpackQ5_K::Fifth<kBlock>(fifth[k]));
  }
};

struct StepsQ6_K {
  using Block = BlockQ6_K;
  static constexpr int kBits = 6;
  static constexpr bool kFine = true;
  __m256i scale[4];
  __m256i low[16], high[8];  // of half a piece
  __m256 d;

  INKSTONE_INLINE inline void Load(const std::byte* p, int64_t stride) {
    LoadTransposed16(p + offsetof(BlockQ6_K, scales), stride, scale);
    alignas(16) uint16_t halves[kStepRows];
    for (int i = 0; i < kStepRows; ++i) memcpy(halves + i, p + i * stride + offsetof(BlockQ6_K, d), 2);
    d = _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(halves)));
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
  template <class K, int kGroup>
  INKSTONE_INLINE inline __m256i Scale() const {
    return SignedBytesToWords < kGroup % 4, K::kBothWords ? kGroup % 4 : -1 > (scale[kGroup / 4]);
  }
  template <int kPair>
  INKSTONE_INLINE inline void AddSums(const StepPiece& x, PieceSums& sums) const {
    AddTotals(SignedBytesToWords<0, 1>(scale[kPair]), x.high16[2 * kPair], x.low16[2 * kPair], sums);
    AddTotals(SignedBytesToWords<2, 3>(scale[kPair]), x.high16[2 * kPair + 1], x.low16[2 * kPair + 1], sums);
  }
  INKSTONE_INLINE inline __m256 Finish(const PieceSums& sums, __m256 sum) const {
    const __m256i exact = _mm256_sub_epi32(sums.dot, _mm256_slli_epi32(Totals(sums), 5));
    return _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(exact), sum);
  }
};

// How bytes are multiplied: kBothWords, whether scales stand in both words of a dword or in the low one; kTogether,
// how many products of four columns are added before they take the scale.
template <int kBits>
struct ByteProducts {
  static constexpr bool kBothWords = true;
  static constexpr int kTogether = kBits <= 5 ? 4 : 2;  // words hold 2 * 31 * 127 four times, or 2 * 63 * 127 twice
  INKSTONE_INLINE static __m256i Multiply(__m256i w, __m256i x) { return _mm256_maddubs_epi16(w, x); }
  INKSTONE_INLINE static __m256i MultiplyAdd(__m256i sum, __m256i w, __m256i x) {
    return _mm256_add_epi16(sum, Multiply(w, x));
  }
  INKSTONE_INLINE static __m256i AddScaled(__m256i sum, __m256i dot, __m256i scale) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(dot, scale));
  }
};

// Products of 16 columns of weights with 16 bytes at `x`, times `scale`, added to `sum`.
template <class K>
INKSTONE_INLINE inline __m256i Dot16(const __m256i* w, const int8_t* x, __m256i scale, __m256i sum) {
  Unroll<4 / K::kTogether>([&](auto i) INKSTONE_INLINE {
    constexpr int first = i * K::kTogether;
    __m256i dot = K::Multiply(w[first], SetDword(Load32(x + 4 * first)));
    Unroll<K::kTogether - 1>([&](auto k) INKSTONE_INLINE {
      dot = K::MultiplyAdd(dot, w[first + k + 1], SetDword(Load32(x + 4 * (first + k + 1))));
    });
    sum = K::AddScaled(sum, dot, scale);
  });
  return sum;
}

// What memory brings 4 KB later, to the second level: the first level can wait for few lines only, and the next eight
// rows may not fit into it.
INKSTONE_INLINE inline void PrefetchLine(const std::byte* p) { __builtin_prefetch(p + 4096, 0, 2); }

// Block kBlock of 32 columns, unpacked in `u`, times one token.
template <class S, class K, int kBlock>
[[gnu::always_inline]] inline void AddBlock(const __m256i (&u)[8], const __m256i (&scale)[2], const StepPiece& x,
                                            __m256i& sum) {
  __m256i dot = sum;
  Unroll<2>([&](auto h) INKSTONE_INLINE {
    const __m256i stepped = TimesStep(scale[h], x.step[2 * kBlock + h]);
    dot = Dot16<K>(u + 4 * h, x.q + 32 * kBlock + 16 * h, stepped, dot);
  });
  if (((S::kFine ? x.fine : x.coarse) >> kBlock & 1) != 0) [[unlikely]] {
    Unroll<2>([&](auto h) INKSTONE_INLINE { dot = Dot16<K>(u + 4 * h, x.r + 32 * kBlock + 16 * h, scale[h], dot); });
  }
  sum = dot;
}

// Adds a piece of eight rows times `tokens` tokens, `x_stride` pieces apart, to sums of eight floats, one after the
// other. kOne: a single token.
template <class S, class K, bool kOne>
[[gnu::noinline]] void AddStepPiece(const std::byte* p, int64_t stride, const std::byte* next, const StepPiece* x,
                                    int64_t x_stride, int64_t tokens, float* sums) {
  constexpr int kLines = kStepRows * sizeof(typename S::Block) / 64;
  S w;
  w.Load(p, stride);
  PieceSums piece[kOne ? 1 : kStepTokens];
  const auto for_tokens = [&](auto&& body) INKSTONE_INLINE {
    if constexpr (kOne) return body(*x, piece[0], sums);
    for (int64_t t = 0; t < tokens; ++t) body(x[t * x_stride], piece[t], sums + kStepRows * t);
  };
  for_tokens([&](const StepPiece&, PieceSums& sum, float*) INKSTONE_INLINE { sum = PieceSums{}; });
  Unroll<4>([&](auto pair) INKSTONE_INLINE {
    w.template LoadPair<pair>(p, stride);
    Unroll<2>([&](auto of_pair) INKSTONE_INLINE {
      constexpr int b = 2 * pair + of_pair;
      Unroll<(b + 1) * kLines / 8 - b * kLines / 8>(
          [&](auto line) INKSTONE_INLINE { PrefetchLine(next + (b * kLines / 8 + line) * 64); });
      __m256i u[8];
      Unroll<8>([&](auto k) INKSTONE_INLINE { u[k] = w.template Columns<b>(k); });
      const __m256i scale[2] = {w.template Scale<K, 2 * b>(), w.template Scale<K, 2 * b + 1>()};
      for_tokens([&](const StepPiece& token, PieceSums& sum, float*)
                     INKSTONE_INLINE { AddBlock<S, K, b>(u, scale, token, sum.dot); });
    });
    for_tokens([&](const StepPiece& token, PieceSums& sum, float*)
                   INKSTONE_INLINE { w.template AddSums<pair>(token, sum); });
  });
  for_tokens([&](const StepPiece&, PieceSums& sum, float* place)
                 INKSTONE_INLINE { _mm256_storeu_ps(place, w.Finish(sum, _mm256_loadu_ps(place))); });
}

// Eight rows from `row` on; fewer than eight are taken one by one, each in all lanes.
template <class S, class K>
inline void StepBlockTimesChunk(const MatMulOp& op, int64_t row, int64_t row_end, int64_t first, int64_t tokens,
                                StepScratch& s) {
  const int64_t pieces = PieceCount(op.w.cols), row_bytes = op.w.row_bytes();
  const int64_t x_stride = PieceIndex(op.phase, 0, 1, pieces, op.tokens);
  const int64_t rows = row_end - row < kStepRows ? 1 : kStepRows;
  const int64_t stride = rows == 1 ? 0 : row_bytes;
  for (int64_t r = row, i = 0; r < row_end; r += rows, ++i) {
    memset(s.sums[i], 0, static_cast<size_t>(tokens * kStepRows) * sizeof(float));
  }
  constexpr auto kBytes = static_cast<int64_t>(sizeof(typename S::Block));
  for (int64_t p = 0; p < pieces; ++p) {
    const auto* x = static_cast<const StepPiece*>(op.activations) + PieceIndex(op.phase, p, first, pieces, op.tokens);
    for (int64_t r = row, i = 0; r < row_end; r += rows, ++i) {
      const std::byte* at = op.w.data + r * row_bytes + p * kBytes;
      const std::byte* next = op.w.data + (r + kStepRows) * row_bytes + p * kStepRows * kBytes;
      if (tokens == 1) {
        AddStepPiece<S, K, true>(at, stride, next, x, x_stride, 1, s.sums[i]);
        continue;
      }
      for (int64_t t = 0; t < tokens; t += kStepTokens) {
        AddStepPiece<S, K, false>(at, stride, next, x + t * x_stride, x_stride,
                                  Smaller<int64_t>(kStepTokens, tokens - t), s.sums[i] + t * kStepRows);
      }
    }
  }
  for (int64_t r = row, i = 0; r < row_end; r += rows, ++i) {
    for (int64_t t = 0; t < tokens; ++t) {
      const auto* x = static_cast<const StepPiece*>(op.activations);
      const float scale = x[PieceIndex(op.phase, 0, first + t, pieces, op.tokens)].scale;
      for (int64_t k = 0; k < rows; ++k) {
        WriteOutput(op, r + k, first + t, s.sums[i][t * kStepRows + k] * scale);
      }
    }
  }
}

template <class S, class K>
inline void StepProductOf(const MatMulOp& op, int64_t row_begin, int64_t row_end, StepScratch& s) {
  const int64_t block = op.phase == Phase::kPrompt ? kStepBlock : kStepRows;
  for (int64_t row = row_begin; row < row_end;) {
    int64_t end = Smaller(row_end, row + block);
    if (end - row > kStepRows) end -= (end - row) % kStepRows;
    for (int64_t first = 0; first < op.tokens; first += kTokenChunk) {
      StepBlockTimesChunk<S, K>(op, row, end, first, Smaller(kTokenChunk, op.tokens - first), s);
    }
    row = end;
  }
}

// Products<bits>, the target's part: ByteProducts or the like of it.
template <template <int> class Products>
inline void StepProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, StepScratch& s) {
  switch (op.w.dtype) {
    case DType::kQ4_K:
      return StepProductOf<StepsQ4_K, Products<4>>(op, row_begin, row_end, s);
    case DType::kQ5_K:
      return StepProductOf<StepsQ5_K, Products<5>>(op, row_begin, row_end, s);
    case DType::kQ6_K:
      return StepProductOf<StepsQ6_K, Products<6>>(op, row_begin, row_end, s);
    default:
      return;
  }
}

}  // namespace
}  // namespace inkstone

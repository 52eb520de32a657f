// Products with activations in eight bits (kernels/steps.h).
#include "kernels/x86/step_product.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone {
namespace {

// Products of four columns that VNNI adds, as often as the low word of a dword holds them: 4 * 15 * 127 four times,
// 4 * 31 * 127 twice.
template <int kBits>
inline constexpr int kWordTogether = kBits == 4 ? 4 : 2;

struct WordSums {
  INKSTONE_INLINE static __m256i AddWords(__m256i sum, __m256i a, __m256i b) { return _mm256_dpwssd_epi32(sum, a, b); }
};
// One token: that word times a scale in the low word is all there is.
template <int kBits>
struct Single : WordSums {
  static constexpr bool kSecondWord = false;
  INKSTONE_INLINE static __m256i Stepped(__m256i scale, uint32_t step) {
    return _mm256_mullo_epi16(scale, SetDword(step));
  }
  INKSTONE_INLINE static __m256i Dot16(const __m256i* w, const int8_t* x, __m256i scale, __m256i sum) {
    constexpr int kSummed = kWordTogether<kBits>;
    Unroll<4 / kSummed>([&](auto i) INKSTONE_INLINE {
      __m256i dot = _mm256_setzero_si256();
      Unroll<kSummed>([&](auto k) INKSTONE_INLINE {
        constexpr int column = i * kSummed + k;
        dot = _mm256_dpbusd_epi32(dot, w[column], SetDword(Load32(x + 4 * column)));
      });
      sum = WordSums::AddWords(sum, dot, scale);
    });
    return sum;
  }
};
// Six bits and more: sums of 16 columns need more than a word.
struct DwordSingle : WordSums {
  static constexpr bool kSecondWord = false;
  INKSTONE_INLINE static __m256i Stepped(__m256i scale, uint32_t step) {
    return _mm256_madd_epi16(scale, SetDword(step));
  }
  INKSTONE_INLINE static __m256i Dot16(const __m256i* w, const int8_t* x, __m256i scale, __m256i sum) {
    __m256i dot = _mm256_setzero_si256();
    Unroll<4>([&](auto k) INKSTONE_INLINE { dot = _mm256_dpbusd_epi32(dot, w[k], SetDword(Load32(x + 4 * k))); });
    return _mm256_add_epi32(sum, _mm256_mullo_epi32(dot, scale));
  }
};
template <>
struct Single<6> : DwordSingle {};
template <>
struct Single<8> : DwordSingle {};

struct Lanes16 {
  using V = Vec;
  using Int = __m512i;
  static constexpr int kRows = 16, kTogether = 4;

  INKSTONE_INLINE static Int Load(const uint32_t* p) { return _mm512_load_si512(p); }
  INKSTONE_INLINE static Int Set(uint32_t dword) { return _mm512_set1_epi32(static_cast<int>(dword)); }
  INKSTONE_INLINE static Int Add(Int a, Int b) { return _mm512_add_epi32(a, b); }
  INKSTONE_INLINE static Int Sub(Int a, Int b) { return _mm512_sub_epi32(a, b); }
  INKSTONE_INLINE static Int AddWords(Int sum, Int a, Int b) { return _mm512_dpwssd_epi32(sum, a, b); }
  INKSTONE_INLINE static Vec::F ToFloat(Int v) { return _mm512_cvtepi32_ps(v); }
  template <int kBy>
  INKSTONE_INLINE static Int ShiftLeft(Int v) {
    return _mm512_slli_epi32(v, kBy);
  }

  // dots[i][t] = sums of columns 4 * kSummed * i ... of block `b` times the 32 bytes at q[t].
  template <int kSummed, int kTokens>
  INKSTONE_INLINE static void Dots(const StepPanel<kRows>& w, int64_t b, const int8_t* const (&q)[kTokens],
                                   Int (&dots)[8 / kSummed][kTokens]) {
    Unroll<8>([&](auto k) INKSTONE_INLINE {
      const Int u = Load(w.columns[b][k]);
      Unroll<kTokens>([&](auto t) INKSTONE_INLINE {
        Int& dot = dots[k / kSummed][t];
        dot = _mm512_dpbusd_epi32(k % kSummed == 0 ? Set(0) : dot, u, Set(Load32(q[t] + 4 * k)));
      });
    });
  }
};

// Up to five bits: sums of both halves of a block in the words of a dword, which a scale for each meets.
template <int kBits>
struct WordLanes : Lanes16 {
  static constexpr int kScales = kPieceBlocks;
  static constexpr int LowScale(int i) { return 2 * i; }
  static constexpr int HighScale(int i) { return 2 * i + 1; }

  // The low words of dwords.
  INKSTONE_INLINE static Int Join(Int low, Int high) {
    const Int picks = _mm512_broadcast_i32x4(_mm_setr_epi32(0x01000100, 0x05040504, 0x09080908, 0x0d0c0d0c));
    return _mm512_mask_shuffle_epi8(low, 0xccccccccccccccccu, high, picks);
  }
  template <bool kOwnScales, bool kStepped, int kTokens>
  INKSTONE_INLINE static void AddProducts(const StepPanel<kRows>& w, int64_t b, const int8_t* const (&q)[kTokens],
                                          const StepPiece* x, int64_t x_stride, Int (&sum)[kTokens]) {
    constexpr int kSummed = kWordTogether<kBits>, kParts = 4 / kSummed;
    Int dots[2 * kParts][kTokens];
    Dots<kSummed>(w, b, q, dots);
    const Int scale = kOwnScales ? Set(0x10001) : Load(w.scale[b]);
    Unroll<kTokens>([&](auto t) INKSTONE_INLINE {
      const Int steps = kStepped ? Set(x[t * x_stride].steps[b]) : scale;
      const Int factor = !kStepped ? scale : kOwnScales ? steps : _mm512_mullo_epi16(scale, steps);
      Unroll<kParts>([&](auto part) INKSTONE_INLINE {
        sum[t] = AddWords(sum[t], Join(dots[part][t], dots[kParts + part][t]), factor);
      });
    });
  }
};
template <int kBits>
struct Lanes : WordLanes<kBits> {};

struct DwordLanes : Lanes16 {
  static constexpr int kScales = kPieceGroups;
  static constexpr int LowScale(int i) { return i; }
  static constexpr int HighScale(int) { return -1; }

  template <bool kOwnScales, bool kStepped, int kTokens>
  INKSTONE_INLINE static void AddProducts(const StepPanel<kRows>& w, int64_t b, const int8_t* const (&q)[kTokens],
                                          const StepPiece* x, int64_t x_stride, Int (&sum)[kTokens]) {
    Int dots[2][kTokens];
    Dots<4>(w, b, q, dots);
    Unroll<2>([&](auto h) INKSTONE_INLINE {
      const Int scale = kOwnScales ? Set(1) : Load(w.scale[2 * b + h]);
      Unroll<kTokens>([&](auto t) INKSTONE_INLINE {
        const Int step = Set(kStepped ? x[t * x_stride].step[2 * b + h] : 1);
        sum[t] = Add(sum[t], _mm512_mullo_epi32(dots[h][t], _mm512_madd_epi16(scale, step)));
      });
    });
  }
};
template <>
struct Lanes<6> : DwordLanes {};
template <>
struct Lanes<8> : DwordLanes {};

}  // namespace

size_t avx512vnni::StepScratchBytes() { return sizeof(StepScratch<Lanes16::kRows>); }

void avx512vnni::StepMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  StepProduct<Single, Lanes, true>(op, row_begin, row_end, *static_cast<StepScratch<Lanes16::kRows>*>(scratch));
}

}  // namespace inkstone

// Products with activations in eight bits (kernels/steps.h).
#include "kernels/x86/step_product.h"
#include "kernels/x86_avx2/avx2.h"
#include "kernels/x86_avx2/vec.h"

namespace inkstone {
namespace {

// Two registers of eight rows each, which share what is spread of the activations: loads bound the product.
struct Lanes16 {
  struct Int {
    __m256i part[2];
  };
  struct V {
    struct F {
      Vec::F part[2];
    };
    INKSTONE_INLINE static F Load(const float* p) { return {Vec::Load(p), Vec::Load(p + 8)}; }
    INKSTONE_INLINE static void Store(float* p, F v) {
      Vec::Store(p, v.part[0]);
      Vec::Store(p + 8, v.part[1]);
    }
    INKSTONE_INLINE static F MulAdd(F a, F b, F c) {
      return {Vec::MulAdd(a.part[0], b.part[0], c.part[0]), Vec::MulAdd(a.part[1], b.part[1], c.part[1])};
    }
    INKSTONE_INLINE static F NegMulAdd(F a, F b, F c) {
      return {Vec::NegMulAdd(a.part[0], b.part[0], c.part[0]), Vec::NegMulAdd(a.part[1], b.part[1], c.part[1])};
    }
  };
  static constexpr int kRows = 16, kTogether = 2;

  INKSTONE_INLINE static __m256i Load8(const uint32_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  INKSTONE_INLINE static Int Load(const uint32_t* p) { return {Load8(p), Load8(p + 8)}; }
  INKSTONE_INLINE static Int Set(uint32_t dword) { return {SetDword(dword), SetDword(dword)}; }
  // operation(a, b) of each part.
  template <class Operation>
  INKSTONE_INLINE static Int Each(Int a, Int b, Operation operation) {
    return {operation(a.part[0], b.part[0]), operation(a.part[1], b.part[1])};
  }
  INKSTONE_INLINE static Int Add(Int a, Int b) { return Each(a, b, _mm256_add_epi32); }
  INKSTONE_INLINE static Int Sub(Int a, Int b) { return Each(a, b, _mm256_sub_epi32); }
  INKSTONE_INLINE static Int AddWords(Int sum, Int a, Int b) { return Add(sum, Each(a, b, _mm256_madd_epi16)); }
  INKSTONE_INLINE static V::F ToFloat(Int v) { return {_mm256_cvtepi32_ps(v.part[0]), _mm256_cvtepi32_ps(v.part[1])}; }
  template <int kBy>
  INKSTONE_INLINE static Int ShiftLeft(Int v) {
    return {_mm256_slli_epi32(v.part[0], kBy), _mm256_slli_epi32(v.part[1], kBy)};
  }
};

// Bytes multiplied to words, which take their scale in both words of a dword.
template <int kBits>
struct ByteLanes : Lanes16 {
  static constexpr int kScales = kPieceGroups;
  static constexpr int LowScale(int i) { return i; }
  static constexpr int HighScale(int i) { return i; }

  template <bool kOwnScales, bool kStepped, int kTokens>
  INKSTONE_INLINE static void AddProducts(const StepPanel<kRows>& w, int64_t b, const int8_t* const (&q)[kTokens],
                                          const StepPiece* x, int64_t x_stride, Int (&sum)[kTokens]) {
    constexpr int kSummed = ByteProducts<kBits>::kTogether;
    for (int h = 0; h < 2; ++h) {
      const int64_t group = 2 * b + h;
      Unroll<4 / kSummed>([&](auto part) INKSTONE_INLINE {
        Int dot[kTokens];
        Unroll<kSummed>([&](auto i) INKSTONE_INLINE {
          const Int u = Load(w.columns[b][4 * h + part * kSummed + i]);
          Unroll<kTokens>([&](auto t) INKSTONE_INLINE {
            const Int spread = Set(Load32(q[t] + 16 * h + 4 * (part * kSummed + i)));
            const Int product = Each(u, spread, ByteProducts<kBits>::Multiply);
            dot[t] = i == 0 ? product : Each(dot[t], product, _mm256_add_epi16);
          });
        });
        const Int scale = kOwnScales ? Set(0x10001) : Load(w.scale[group]);
        Unroll<kTokens>([&](auto t) INKSTONE_INLINE {
          const Int step = kStepped ? Set(x[t * x_stride].step[group]) : scale;
          const Int factor = !kStepped ? scale : kOwnScales ? step : Each(scale, step, _mm256_mullo_epi16);
          sum[t] = AddWords(sum[t], dot[t], factor);
        });
      });
    }
  }
};

}  // namespace

size_t avx2::StepScratchBytes() { return sizeof(StepScratch<Lanes16::kRows>); }

void avx2::StepMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  StepProduct<ByteProducts, ByteLanes, false>(op, row_begin, row_end,
                                              *static_cast<StepScratch<Lanes16::kRows>*>(scratch));
}

}  // namespace inkstone

// Products with block-quantized weights: int8 dot products over groups, scaled in f32.
//
// VNNI multiplies unsigned by signed bytes. Weights are the unsigned side; what they lie above their meaning, times the
// sum of the group's activations, is taken off the integer sum, which is exact.
#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/panel_product.h"
#include "kernels/x86/row_product.h"
#include "kernels/x86/unpack.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"
#include "kernels/x86_avx512vnni/unpack512.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone {
namespace {

inline __m512i Load512(const void* p) { return _mm512_load_si512(p); }

// --- few tokens: lanes are groups -----------------------------------------------------------------------------------

// Vectors with a lane for each group of a piece.
template <int kGroup>
struct Groups;

template <>
struct Groups<32> {
  using F = __m256;
  using I = __m256i;
  static F Zero() { return _mm256_setzero_ps(); }
  static F Load(const float* p) { return _mm256_load_ps(p); }
  static F Join(const __m256 (&v)[2]) { return v[0]; }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F MulAdd(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F NegMulAdd(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  static F ToFloat(I v) { return _mm256_cvtepi32_ps(v); }
  template <int kTimes>
  static I TakeOff(I v, const int32_t* totals) {
    return _mm256_sub_epi32(v, _mm256_mullo_epi32(LoadAligned(totals), _mm256_set1_epi32(kTimes)));
  }
  // `quarters`: in quarter q lane j, what quarter q of register j added up to.
  static I Sums(__m512i quarters) {
    const __m256i low = _mm512_castsi512_si256(quarters), high = _mm512_extracti64x4_epi64(quarters, 1);
    const __m256i sums =
        _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
    return _mm256_permutevar8x32_epi32(sums, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  static float Total(F v) { return Vec::Sum8(v); }
};

template <>
struct Groups<16> {
  using F = __m512;
  using I = __m512i;
  static F Zero() { return _mm512_setzero_ps(); }
  static F Load(const float* p) { return _mm512_load_ps(p); }
  static F Join(const __m256 (&v)[2]) { return _mm512_insertf32x8(_mm512_castps256_ps512(v[0]), v[1], 1); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F MulAdd(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F NegMulAdd(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F ToFloat(I v) { return _mm512_cvtepi32_ps(v); }
  template <int kTimes>
  static I TakeOff(I v, const int32_t* totals) {
    return _mm512_sub_epi32(v, _mm512_mullo_epi32(Load512(totals), _mm512_set1_epi32(kTimes)));
  }
  static I Sums(__m512i quarters) {
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), quarters);
  }
  static float Total(F v) { return Vec::Sum(v); }
};

// Sums of neighbouring dwords: of the even and odd pairs of a and b, in turn.
inline __m512i AddPairs(__m512i a, __m512i b) {
  return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

struct RowKernel {
  template <class U>
  struct Unpacked {
    __m512i q[kQuarters];
    typename Groups<U::kGroup>::F scale;
    typename Groups<U::kGroup>::F min;  // kHasMin
  };

  template <class U>
  struct Sum {
    using G = Groups<U::kGroup>;
    typename G::F sum = G::Zero();
    float Total() const { return G::Total(sum); }
  };

  template <class U>
  static inline void Unpack(const std::byte* row, int64_t piece, int64_t cols, Unpacked<U>& w) {
    Piece p;
    WithPiece<U>(row, piece, cols, [&](const typename U::Block* b) {
      Wide<U>::Weights(b, w.q);
      U::Scales(b, p);
    });
    if constexpr (U::kSigned) {
      Unroll<kQuarters>([&](auto j) { w.q[j] = _mm512_xor_si512(w.q[j], _mm512_set1_epi8(static_cast<char>(0x80))); });
    }
    w.scale = Groups<U::kGroup>::Join(p.scale);
    if constexpr (U::kHasMin) w.min = Groups<U::kGroup>::Join(p.min);
  }

  template <class U>
  static inline void Dot(const Unpacked<U>& w, const QuantizedPiece& x, Sum<U>& sum) {
    using G = Groups<U::kGroup>;
    __m512i d[kQuarters];
    Unroll<kQuarters>(
        [&](auto j) { d[j] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w.q[j], Load512(x.q + 64 * j)); });
    const __m512i d01 = AddPairs(d[0], d[1]), d23 = AddPairs(d[2], d[3]);
    typename G::I dot = G::Sums(_mm512_add_epi32(_mm512_unpacklo_epi64(d01, d23), _mm512_unpackhi_epi64(d01, d23)));
    constexpr int kAbove = U::kSigned ? 128 : U::kBias;
    if constexpr (kAbove != 0) dot = G::template TakeOff<kAbove>(dot, GroupTotals<U::kGroup>(x));
    const typename G::F scale = G::Mul(w.scale, G::Load(GroupScales<U::kGroup>(x)));
    sum.sum = G::MulAdd(G::ToFloat(dot), scale, sum.sum);
    if constexpr (U::kHasMin) sum.sum = G::NegMulAdd(w.min, G::Load(GroupSums<U::kGroup>(x)), sum.sum);
  }
};

// --- many tokens: lanes are rows ------------------------------------------------------------------------------------

struct PanelKernel {
  static constexpr int kLanes = 16;
  static constexpr int kPanels = 2;
  static constexpr int kPanelRows = kPanels * kLanes;
  static constexpr int kTokens = 4;
  static constexpr bool kFlipSign = true;

  static inline void Transpose(const void* in, int64_t stride, void* out) {
    __m512 v[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      v[i] = _mm512_castsi512_ps(_mm512_loadu_si512(static_cast<const std::byte*>(in) + i * stride));
    }
    Vec::Transpose(v);
    for (int i = 0; i < kLanes; ++i) {
      _mm512_store_si512(static_cast<std::byte*>(out) + 64 * i, _mm512_castps_si512(v[i]));
    }
  }

  template <class U, int T, class Pieces>
  static inline void DotGroup(const Panel<kLanes>* panel, const Pieces& x, int g, __m512i (&dot)[kPanels][T]) {
    constexpr int kDwords = U::kGroup / 4;
    constexpr int kAbove = kPanelBias<U, PanelKernel>;
    Unroll<T>([&](auto t) {
      const __m512i start =
          kAbove == 0 ? _mm512_setzero_si512() : _mm512_set1_epi32(-kAbove * GroupTotals<U::kGroup>(x[t])[g]);
      Unroll<kPanels>([&](auto p) { dot[p][t] = start; });
    });
    Unroll<kDwords>([&](auto step) {
      const int k = g * kDwords + step;
      __m512i w[kPanels];
      Unroll<kPanels>([&](auto p) { w[p] = Load512(panel[p].q[k]); });
      Unroll<T>([&](auto t) {
        const __m512i v = _mm512_set1_epi32(static_cast<int>(Load32(x[t].q + 4 * k)));
        Unroll<kPanels>([&](auto p) { dot[p][t] = _mm512_dpbusd_epi32(dot[p][t], w[p], v); });
      });
    });
  }

  template <class U, Phase kPhase, int T, class Pieces>
  static inline void Multiply(const Panel<kLanes>* panel, const Pieces& x, float* sums) {
    constexpr int kCount = kSums<U, kPhase>;
    __m512 acc[kPanels][T];
    const auto each = [&](auto&& body) { Unroll<T>([&](auto t) { Unroll<kPanels>([&](auto p) { body(p, t); }); }); };
    const auto place = [&](int g, int p, int t) {
      return sums + (g % kCount * kPanelTokens<kPhase> + t) * kPanelRows + p * kLanes;
    };
    for (int g = 0; g < kPiece / U::kGroup; ++g) {
      if (kCount > 1 || g == 0) each([&](auto p, auto t) { acc[p][t] = _mm512_load_ps(place(g, p, t)); });
      __m512i dot[kPanels][T];
      DotGroup<U, T>(panel, x, g, dot);
      each([&](auto p, auto t) {
        const __m512 scale = _mm512_set1_ps(GroupScales<32>(x[t])[g * U::kGroup / 32]);
        const __m512 both = _mm512_mul_ps(scale, _mm512_load_ps(panel[p].scale[g]));
        acc[p][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[p][t]), both, acc[p][t]);
        if constexpr (U::kHasMin) {
          const __m512 sum = _mm512_set1_ps(GroupSums<U::kGroup>(x[t])[g]);
          acc[p][t] = _mm512_fnmadd_ps(_mm512_load_ps(panel[p].min[g]), sum, acc[p][t]);
        }
      });
      if (kCount > 1 || g + 1 == kPiece / U::kGroup) {
        each([&](auto p, auto t) { _mm512_store_ps(place(g, p, t), acc[p][t]); });
      }
    }
  }
};

}  // namespace

namespace avx512vnni {

size_t QuantScratchBytes(Phase) { return sizeof(PanelScratch<PanelKernel>); }

void QuantMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  auto& s = *static_cast<PanelScratch<PanelKernel>*>(scratch);
  VisitQuantized(op.w.dtype, [&]<class U>() {
    if (op.phase == Phase::kPrompt) {
      PanelProduct<U, PanelKernel, Phase::kPrompt>(op, row_begin, row_end, s);
    } else if (op.tokens > kRowTokens) {
      PanelProduct<U, PanelKernel, Phase::kDecode>(op, row_begin, row_end, s);
    } else {
      RowProduct<U, RowKernel>(op, row_begin, row_end);
    }
  });
}

}  // namespace avx512vnni
}  // namespace inkstone

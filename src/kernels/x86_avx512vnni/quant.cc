// Products with block-quantized weights: exact integer dot products over groups with 15-bit activations, scaled in f32.
//
// Bytes of weights become words in place: those with even index and those with odd index apart, as activations lie.
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

constexpr int kRun = 64;  // of QuantizedPiece: a register of weights

inline __m512i Load512(const void* p) { return _mm512_load_si512(p); }

// The even and the odd bytes of q in 16 bits each.
struct Words {
  __m512i even;
  __m512i odd;
};
template <class U>
inline Words ToWords(__m512i q) {
  if constexpr (U::kSigned) return {_mm512_srai_epi16(_mm512_slli_epi16(q, 8), 8), _mm512_srai_epi16(q, 8)};
  return {_mm512_and_si512(q, _mm512_set1_epi16(255)), _mm512_srli_epi16(q, 8)};
}

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
  static F Set(float x) { return _mm256_set1_ps(x); }
  static F MulAdd(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F NegMulAdd(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  static F ToFloat(I v) { return _mm256_cvtepi32_ps(v); }
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
  static F Set(float x) { return _mm512_set1_ps(x); }
  static F MulAdd(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F NegMulAdd(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F ToFloat(I v) { return _mm512_cvtepi32_ps(v); }
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
      Wide<U>::Scales(b, p);
    });
    w.scale = Groups<U::kGroup>::Join(p.scale);
    if constexpr (U::kHasMin) w.min = Groups<U::kGroup>::Join(p.min);
  }

  template <class U>
  static inline void Dot(const Unpacked<U>& w, const QuantizedPiece& x, Sum<U>& sum) {
    using G = Groups<U::kGroup>;
    __m512i d[kQuarters];
    Unroll<kQuarters>([&](auto j) {
      const Words words = ToWords<U>(w.q[j]);
      const __m512i even = _mm512_dpwssd_epi32(_mm512_setzero_si512(), words.even, Load512(x.q + kRun * j));
      d[j] = _mm512_dpwssd_epi32(even, words.odd, Load512(x.q + kRun * j + kRun / 2));
    });
    const __m512i d01 = AddPairs(d[0], d[1]), d23 = AddPairs(d[2], d[3]);
    const __m512i quarters = _mm512_add_epi32(_mm512_unpacklo_epi64(d01, d23), _mm512_unpackhi_epi64(d01, d23));
    const typename G::F totals = G::Load(GroupTotals<U::kGroup>(x));
    typename G::F exact = G::ToFloat(G::Sums(quarters));
    if constexpr (U::kBias != 0) exact = G::NegMulAdd(G::Set(U::kBias), totals, exact);
    sum.sum = G::MulAdd(exact, w.scale, sum.sum);
    if constexpr (U::kHasMin) sum.sum = G::NegMulAdd(w.min, totals, sum.sum);
  }
};

// --- many tokens: lanes are rows ------------------------------------------------------------------------------------

struct PanelKernel {
  static constexpr int kLanes = 16;
  static constexpr int kPanels = 2;
  static constexpr int kPanelRows = kPanels * kLanes;
  static constexpr int kTokens = 8;

  static inline void LoadTransposed(const void* in, int64_t stride, __m512 (&v)[kLanes]) {
    for (int i = 0; i < kLanes; ++i) {
      v[i] = _mm512_castsi512_ps(_mm512_loadu_si512(static_cast<const std::byte*>(in) + i * stride));
    }
    Vec::Transpose(v);
  }
  static inline void Transpose(const void* in, int64_t stride, void* out) {
    __m512 v[kLanes];
    LoadTransposed(in, stride, v);
    for (int i = 0; i < kLanes; ++i) {
      _mm512_store_si512(static_cast<std::byte*>(out) + 64 * i, _mm512_castps_si512(v[i]));
    }
  }
  template <class U>
  static inline void TransposeWeights(const void* in, int64_t stride, void* out) {
    __m512 v[kLanes];
    LoadTransposed(in, stride, v);
    for (int i = 0; i < kLanes; ++i) {
      const Words words = ToWords<U>(_mm512_castps_si512(v[i]));
      const __m512i bias = _mm512_set1_epi16(U::kBias);
      _mm512_store_si512(static_cast<std::byte*>(out) + 128 * i, _mm512_sub_epi16(words.even, bias));
      _mm512_store_si512(static_cast<std::byte*>(out) + 128 * i + 64, _mm512_sub_epi16(words.odd, bias));
    }
  }

  template <class G, int T, class Pieces>
  static inline void DotGroup(const Panel<kLanes>* panel, const Pieces& x, int g, __m512i (&dot)[kPanels][T]) {
    constexpr int kDwords = G::kGroup / 2;
    const int first = EvenPlace<kRun>(g * G::kGroup);
    Unroll<T>([&](auto t) { Unroll<kPanels>([&](auto p) { dot[p][t] = _mm512_setzero_si512(); }); });
    Unroll<kDwords>([&](auto k) {
      const int place = first + k / 2 * 2 + k % 2 * (kRun / 2);
      __m512i w[kPanels];
      Unroll<kPanels>([&](auto p) { w[p] = Load512(panel[p].q[g * kDwords + k]); });
      Unroll<T>([&](auto t) {
        const __m512i pair = _mm512_set1_epi32(static_cast<int>(Load32(x[t].q + place)));
        Unroll<kPanels>([&](auto p) { dot[p][t] = _mm512_dpwssd_epi32(dot[p][t], w[p], pair); });
      });
    });
  }

  template <class G, Phase kPhase, int T, class Pieces>
  [[gnu::flatten, gnu::noinline]] static void Multiply(const Panel<kLanes>* panel, const Pieces& x, float* sums) {
    for (int g = 0; g < kPiece / G::kGroup; ++g) {
      __m512i dot[kPanels][T];
      DotGroup<G, T>(panel, x, g, dot);
      Unroll<T>([&](auto t) {
        Unroll<kPanels>([&](auto p) {
          float* place = sums + (g % kSums<G, kPhase> * kPanelTokens<kPhase> + t) * kPanelRows + p * kLanes;
          __m512 acc = _mm512_load_ps(place);
          acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[p][t]), _mm512_load_ps(panel[p].scale[g]), acc);
          if constexpr (G::kHasMin) {
            const __m512 total = _mm512_set1_ps(GroupTotals<G::kGroup>(x[t])[g]);
            acc = _mm512_fnmadd_ps(_mm512_load_ps(panel[p].min[g]), total, acc);
          }
          _mm512_store_ps(place, acc);
        });
      });
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

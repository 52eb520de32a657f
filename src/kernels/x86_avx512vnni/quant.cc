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

using avx512vnni::kRun;

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
  using V = Vec;
  using I = __m512i;
  static constexpr int kLanes = V::kLanes;
  static constexpr int kRun = avx512vnni::kRun;
  static constexpr int kPanels = 2;
  static constexpr int kTokens = 8;

  static I Zero() { return _mm512_setzero_si512(); }
  static I Load(const void* p) { return Load512(p); }
  static void Store(void* p, I v) { _mm512_store_si512(p, v); }
  static I Set(int dword) { return _mm512_set1_epi32(dword); }
  static I Bits(V::F v) { return _mm512_castps_si512(v); }
  static V::F ToFloat(I v) { return _mm512_cvtepi32_ps(v); }
  static I MultiplyAdd(I sum, I a, I b) { return _mm512_dpwssd_epi32(sum, a, b); }
  template <class U>
  static Words ToWords(I bytes) {
    return inkstone::ToWords<U>(bytes);
  }
  template <class U>
  static I WithoutBias(I words) {
    return _mm512_sub_epi16(words, _mm512_set1_epi16(U::kBias));
  }
};

}  // namespace

namespace avx512vnni {

size_t QuantScratchBytes(Phase) { return sizeof(PanelScratch<PanelKernel>); }

void QuantMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  // All types: `amx` decodes K-quants with it.
  auto& s = *static_cast<PanelScratch<PanelKernel>*>(scratch);
  VisitQuantized(op.w.dtype, [&]<class U>() { QuantProduct<U, RowKernel>(op, row_begin, row_end, s); });
}

}  // namespace avx512vnni
}  // namespace inkstone

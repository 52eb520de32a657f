// Products with block-quantized weights: exact integer dot products over groups with 15-bit activations, scaled in f32.
//
// Bytes of weights become words in place: those with even index and those with odd index apart, as activations lie.
#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/panel_product.h"
#include "kernels/x86/row_product.h"
#include "kernels/x86/unpack.h"
#include "kernels/x86_avx2/avx2.h"
#include "kernels/x86_avx2/vec.h"

namespace inkstone {
namespace {

using avx2::kRun;

// The even and the odd bytes of q in 16 bits each.
struct Words {
  __m256i even;
  __m256i odd;
};
template <class U>
inline Words ToWords(__m256i q) {
  if constexpr (U::kSigned) return {_mm256_srai_epi16(_mm256_slli_epi16(q, 8), 8), _mm256_srai_epi16(q, 8)};
  return {_mm256_and_si256(q, _mm256_set1_epi16(255)), _mm256_srli_epi16(q, 8)};
}

// --- few tokens: lanes are groups -----------------------------------------------------------------------------------

struct RowKernel {
  static constexpr int kVectors(int group) { return kPiece / group / 8; }

  template <class U>
  using Unpacked = Piece;

  template <class U>
  struct Sum {
    __m256 sum[kVectors(U::kGroup)] = {};
    float Total() const {
      if constexpr (U::kGroup == 32)
        return Vec::Sum(sum[0]);
      else
        return Vec::Sum(_mm256_add_ps(sum[0], sum[1]));
    }
  };

  template <class U>
  static inline void Unpack(const std::byte* row, int64_t piece, int64_t cols, Piece& w) {
    UnpackPiece<U>(row, piece, cols, w);
  }

  // Four sums for each half of blocks b .. b+3.
  template <class U>
  static inline __m256i FourBlocks(const Piece& w, const QuantizedPiece& x, int b) {
    __m256i d[4];
    Unroll<4>([&](auto i) {
      const Words words = ToWords<U>(w.q[b + i]);
      const int16_t* values = x.q + kRun * (b + i);
      d[i] = _mm256_add_epi32(_mm256_madd_epi16(words.even, LoadAligned(values)),
                              _mm256_madd_epi16(words.odd, LoadAligned(values + kRun / 2)));
    });
    return _mm256_hadd_epi32(_mm256_hadd_epi32(d[0], d[1]), _mm256_hadd_epi32(d[2], d[3]));
  }

  template <class U>
  static inline void Dot(const Piece& w, const QuantizedPiece& x, Sum<U>& sum) {
    const __m256i low = FourBlocks<U>(w, x, 0), high = FourBlocks<U>(w, x, 4);
    __m256i dot[kVectors(U::kGroup)];
    if constexpr (U::kGroup == 32) {
      dot[0] = _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
    } else {
      const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
      dot[0] = _mm256_permutevar8x32_epi32(low, order);
      dot[1] = _mm256_permutevar8x32_epi32(high, order);
    }
    Unroll<kVectors(U::kGroup)>([&](auto v) {
      const __m256 totals = _mm256_load_ps(GroupTotals<U::kGroup>(x) + 8 * v);
      __m256 exact = _mm256_cvtepi32_ps(dot[v]);
      if constexpr (U::kBias != 0) exact = _mm256_fnmadd_ps(_mm256_set1_ps(U::kBias), totals, exact);
      sum.sum[v] = _mm256_fmadd_ps(exact, w.scale[v], sum.sum[v]);
      if constexpr (U::kHasMin) sum.sum[v] = _mm256_fnmadd_ps(w.min[v], totals, sum.sum[v]);
    });
  }
};

// --- many tokens: lanes are rows ------------------------------------------------------------------------------------

struct PanelKernel {
  using V = Vec;
  using I = __m256i;
  static constexpr int kLanes = V::kLanes;
  static constexpr int kRun = avx2::kRun;
  static constexpr int kPanels = 4;
  static constexpr int kTokens = 4;

  static I Zero() { return _mm256_setzero_si256(); }
  static I Load(const void* p) { return LoadAligned(p); }
  static void Store(void* p, I v) { StoreAligned(p, v); }
  static I Set(int dword) { return _mm256_set1_epi32(dword); }
  static I Bits(V::F v) { return _mm256_castps_si256(v); }
  static V::F ToFloat(I v) { return _mm256_cvtepi32_ps(v); }
  static I MultiplyAdd(I sum, I a, I b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
  template <class U>
  static Words ToWords(I bytes) {
    return inkstone::ToWords<U>(bytes);
  }
  template <class U>
  static I WithoutBias(I words) {
    return _mm256_sub_epi16(words, _mm256_set1_epi16(U::kBias));
  }
};

template <class U>
void DecodeRowOf(const std::byte* src, int64_t elements, float* dst) {
  for (int64_t p = 0; p < PieceCount(elements); ++p) {
    Piece w;
    UnpackPiece<U>(src, p, elements, w);
    alignas(32) int8_t q[kPiece];
    alignas(32) float scale[kPieceGroups], min[kPieceGroups] = {};
    for (int b = 0; b < kPieceBlocks; ++b) StoreAligned(q + 32 * b, WithoutBias<U>(w.q[b]));
    for (int h = 0; h < 32 / U::kGroup; ++h) {
      _mm256_store_ps(scale + 8 * h, w.scale[h]);
      if constexpr (U::kHasMin) _mm256_store_ps(min + 8 * h, w.min[h]);
    }
    const int64_t count = Smaller<int64_t>(kPiece, elements - p * kPiece);
    for (int64_t i = 0; i < count; i += 8) {
      const __m128i bytes = _mm_loadu_si64(q + i);
      const __m256 value = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
      const __m256 scaled = _mm256_mul_ps(value, _mm256_broadcast_ss(scale + i / U::kGroup));
      _mm256_storeu_ps(dst + p * kPiece + i, _mm256_sub_ps(scaled, _mm256_broadcast_ss(min + i / U::kGroup)));
    }
  }
}

}  // namespace

namespace avx2 {

size_t QuantScratchBytes(Phase) { return sizeof(PanelScratch<PanelKernel>); }

void QuantMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  auto& s = *static_cast<PanelScratch<PanelKernel>*>(scratch);
  VisitWithoutSteps(op.w.dtype, [&]<class U>() { QuantProduct<U, RowKernel>(op, row_begin, row_end, s); });
}

void DecodeQuantRow(DType type, const std::byte* src, int64_t elements, float* dst) {
  VisitQuantized(type, [&]<class U>() { DecodeRowOf<U>(src, elements, dst); });
}

}  // namespace avx2
}  // namespace inkstone

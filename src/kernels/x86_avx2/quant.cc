// Products with block-quantized weights: int8 dot products over groups, scaled in f32.
//
// maddubs multiplies unsigned by signed bytes and adds pairs in 16 bits. Weights are the unsigned side; what they lie
// above their meaning, times the sum of the group's activations, is taken off the integer sum, which is exact. Signed
// weights lend their sign to the activations instead, as with 128 added a pair would not fit.
#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/panel_product.h"
#include "kernels/x86/row_product.h"
#include "kernels/x86/unpack.h"
#include "kernels/x86_avx2/avx2.h"
#include "kernels/x86_avx2/vec.h"

namespace inkstone {
namespace {

// Sixteen sums of two products each. |q| <= 128 and |x| <= 127 leave a pair's sum within 16 bits.
template <class U>
inline __m256i Pairs(__m256i q, __m256i x) {
  if constexpr (U::kSigned) return _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
  return _mm256_maddubs_epi16(q, x);
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
      d[i] = _mm256_madd_epi16(Pairs<U>(w.q[b + i], LoadAligned(x.q + 32 * (b + i))), _mm256_set1_epi16(1));
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
      if constexpr (U::kBias != 0) {
        const __m256i totals = LoadAligned(GroupTotals<U::kGroup>(x) + 8 * v);
        dot[v] = _mm256_sub_epi32(dot[v], _mm256_mullo_epi32(totals, _mm256_set1_epi32(U::kBias)));
      }
      const __m256 scale = _mm256_mul_ps(w.scale[v], _mm256_load_ps(GroupScales<U::kGroup>(x) + 8 * v));
      sum.sum[v] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[v]), scale, sum.sum[v]);
      if constexpr (U::kHasMin) {
        sum.sum[v] = _mm256_fnmadd_ps(w.min[v], _mm256_load_ps(GroupSums<U::kGroup>(x) + 8 * v), sum.sum[v]);
      }
    });
  }
};

// --- many tokens: lanes are rows ------------------------------------------------------------------------------------

struct PanelKernel {
  static constexpr int kLanes = 8;
  static constexpr int kPanels = 4;
  static constexpr int kPanelRows = kPanels * kLanes;
  static constexpr int kTokens = 4;
  static constexpr bool kFlipSign = false;

  static inline void Transpose(const void* in, int64_t stride, void* out) {
    __m256 v[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      v[i] = _mm256_castsi256_ps(Load256(static_cast<const std::byte*>(in) + i * stride));
    }
    Vec::Transpose(v);
    for (int i = 0; i < kLanes; ++i) {
      StoreAligned(static_cast<std::byte*>(out) + 32 * i, _mm256_castps_si256(v[i]));
    }
  }

  template <class U, int T, class Pieces>
  [[gnu::always_inline]] static inline void DotGroup(const Panel<kLanes>& panel, const Pieces& x, int g,
                                                     __m256i (&dot)[T]) {
    constexpr int kDwords = U::kGroup / 4;
    // How many pair sums of 16 bits may be added before they overflow.
    constexpr int kRoom = 32767 / (2 * 127 * U::kMaxAbs);
    constexpr int kAdd = kRoom >= kDwords ? kDwords : kRoom >= 4 ? 4 : kRoom >= 2 ? 2 : 1;
    const __m256i ones = _mm256_set1_epi16(1);
    Unroll<T>([&](auto t) {
      dot[t] = U::kBias == 0 ? _mm256_setzero_si256() : _mm256_set1_epi32(-U::kBias * GroupTotals<U::kGroup>(x[t])[g]);
    });
    Unroll<kDwords / kAdd>([&](auto outer) {
      __m256i pairs[T];
      Unroll<kAdd>([&](auto inner) {
        const int k = g * kDwords + outer * kAdd + inner;
        const __m256i w = LoadAligned(panel.q[k]);
        Unroll<T>([&](auto t) {
          const __m256i quad = _mm256_set1_epi32(static_cast<int>(Load32(x[t].q + 4 * k)));
          const __m256i product = Pairs<U>(w, quad);
          pairs[t] = inner == 0 ? product : _mm256_add_epi16(pairs[t], product);
        });
      });
      Unroll<T>([&](auto t) { dot[t] = _mm256_add_epi32(dot[t], _mm256_madd_epi16(pairs[t], ones)); });
    });
  }

  template <class U, Phase kPhase, int T, class Pieces>
  static inline void MultiplyPanel(const Panel<kLanes>& panel, const Pieces& x, float* sums) {
    constexpr int kCount = kSums<U, kPhase>;
    __m256 acc[T];
    const auto place = [&](int g, int t) { return sums + (g % kCount * kPanelTokens<kPhase> + t) * kPanelRows; };
    for (int g = 0; g < kPiece / U::kGroup; ++g) {
      if (kCount > 1 || g == 0) Unroll<T>([&](auto t) { acc[t] = _mm256_load_ps(place(g, t)); });
      __m256i dot[T];
      DotGroup<U, T>(panel, x, g, dot);
      const __m256 scale = _mm256_load_ps(panel.scale[g]);
      Unroll<T>([&](auto t) {
        const __m256 both = _mm256_mul_ps(scale, _mm256_broadcast_ss(x[t].scale + g * U::kGroup / 32));
        acc[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[t]), both, acc[t]);
        if constexpr (U::kHasMin) {
          const __m256 sum = _mm256_broadcast_ss(GroupSums<U::kGroup>(x[t]) + g);
          acc[t] = _mm256_fnmadd_ps(_mm256_load_ps(panel.min[g]), sum, acc[t]);
        }
      });
      if (kCount > 1 || g + 1 == kPiece / U::kGroup) {
        Unroll<T>([&](auto t) { _mm256_store_ps(place(g, t), acc[t]); });
      }
    }
  }

  template <class U, Phase kPhase, int T, class Pieces>
  static inline void Multiply(const Panel<kLanes>* panel, const Pieces& x, float* sums) {
    for (int i = 0; i < kPanels; ++i) MultiplyPanel<U, kPhase, T>(panel[i], x, sums + i * kLanes);
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

void DecodeQuantRow(DType type, const std::byte* src, int64_t elements, float* dst) {
  VisitQuantized(type, [&]<class U>() { DecodeRowOf<U>(src, elements, dst); });
}

}  // namespace avx2
}  // namespace inkstone

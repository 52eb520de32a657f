// Products with block-quantized weights: int8 dot products over groups, scaled in f32.
//
// VNNI multiplies unsigned by signed bytes. Where weights are never negative they are the unsigned side; otherwise the
// activations are, with 128 added, and the sum starts at -128 times the sum of the weights. Both are exact.
#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/decode_product.h"
#include "kernels/x86/unpack.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone {
namespace {

constexpr int kLanes = 16;  // rows in one register
constexpr int kPanels = 2;  // registers of rows that share a load of activations
constexpr int kPanelRows = kPanels * kLanes;
constexpr int kTokens = 4;    // tokens that share a load of weights
constexpr int kQuarters = 4;  // registers of 64 weights in a piece

inline __m512i Load512(const void* p) { return _mm512_load_si512(p); }

// Lane i of each 16 becomes group i / 2 of eight.
inline __m512 EachTwice(__m256 v) {
  const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(v));
}

template <class U>
inline __m512 Groups16(const __m256 (&v)[2]) {
  if constexpr (U::kGroup == 32) return EachTwice(v[0]);
  return _mm512_insertf32x8(_mm512_castps256_ps512(v[0]), v[1], 1);
}

// The decode phase's part that is this target's (x86/decode_product.h).
struct DecodeKernel {
  static constexpr int kTokens = 4;

  struct Unpacked {
    __m512i q[kQuarters];
    __m512i start[kQuarters];  // signed weights only
    __m512 scale;              // of each 16 weights
    __m512 min;                // only if the type has mins
  };

  struct Sum {
    __m512 products[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512 mins = _mm512_setzero_ps();
    float Total() const { return Vec::Sum(_mm512_sub_ps(_mm512_add_ps(products[0], products[1]), mins)); }
  };

  template <class U>
  static inline void Unpack(const std::byte* row, int64_t piece, int64_t cols, Unpacked& w) {
    Piece p;
    UnpackPiece<U>(row, piece, cols, p);
    const __m512i zero = _mm512_setzero_si512();
    Unroll<kQuarters>([&](auto j) {
      w.q[j] = _mm512_inserti64x4(_mm512_castsi256_si512(p.q[2 * j]), p.q[2 * j + 1], 1);
      if constexpr (!U::kHasMin) {
        const __m512i offset = _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(static_cast<char>(128)), w.q[j]);
        w.start[j] = _mm512_sub_epi32(zero, offset);
      }
    });
    w.scale = Groups16<U>(p.scale);
    if constexpr (U::kHasMin) w.min = Groups16<U>(p.min);
  }

  template <class U>
  static inline void Dot(const Unpacked& w, const QuantizedPiece& x, Sum& sum) {
    const __m512 scale = _mm512_mul_ps(w.scale, _mm512_load_ps(x.scale16));
    Unroll<kQuarters>([&](auto j) {
      __m512i dot;  // lane i: weights 4i .. 4i+3 of the 64
      if constexpr (U::kHasMin) {
        dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w.q[j], Load512(x.s + 64 * j));
      } else {
        dot = _mm512_dpbusd_epi32(w.start[j], Load512(x.u + 64 * j), w.q[j]);
      }
      constexpr int k = 4 * j;
      const __m512i spread = _mm512_setr_epi32(k, k, k, k, k + 1, k + 1, k + 1, k + 1, k + 2, k + 2, k + 2, k + 2,
                                               k + 3, k + 3, k + 3, k + 3);
      sum.products[j % 2] =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_permutexvar_ps(spread, scale), sum.products[j % 2]);
    });
    if constexpr (U::kHasMin) sum.mins = _mm512_fmadd_ps(w.min, _mm512_load_ps(x.sum16), sum.mins);
  }
};

// One piece of sixteen rows, transposed: dword k of a register's lane r holds weights 4k .. 4k+3 of row r.
struct alignas(64) Panel {
  int8_t q[kPiece / 4][kLanes][4];
  float scale[kPieceGroups][kLanes];  // kPiece / kGroup used
  union {
    float min[kPieceGroups][kLanes];      // kHasMin
    int32_t start[kPieceGroups][kLanes];  // else
  };
};

struct alignas(64) PromptScratch {
  Panel panel[kPanels];
  float sums[kTokenChunk][kPanelRows];
  int8_t rows[kLanes][kPiece];
  float scale[kLanes][kPieceGroups];
  float min[kLanes][kPieceGroups];
};

// Sixteen dwords of each of sixteen rows, `stride` bytes apart, to sixteen columns one after another.
inline void TransposeBlock(const void* in, int64_t stride, void* out) {
  __m512 v[kLanes];
  for (int i = 0; i < kLanes; ++i) v[i] = _mm512_castsi512_ps(Load512(static_cast<const std::byte*>(in) + i * stride));
  Vec::Transpose(v);
  for (int i = 0; i < kLanes; ++i) {
    _mm512_store_si512(static_cast<std::byte*>(out) + 64 * i, _mm512_castps_si512(v[i]));
  }
}

// -128 * the sum of each lane's weights, for each group.
template <class U>
inline void FillStart(Panel& panel) {
  constexpr int kDwords = U::kGroup / 4;
  for (int g = 0; g < kPiece / U::kGroup; ++g) {
    __m512i sum = _mm512_setzero_si512();
    for (int k = 0; k < kDwords; ++k) {
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(static_cast<char>(128)), Load512(panel.q[g * kDwords + k]));
    }
    _mm512_store_si512(panel.start[g], _mm512_sub_epi32(_mm512_setzero_si512(), sum));
  }
}

// Fills `panel` with piece p of rows [row, row + kLanes); rows from row_end on are zero.
template <class U>
void UnpackPanel(const MatMulOp& op, int64_t row, int64_t row_end, int64_t p, PromptScratch& s, Panel& panel) {
  const int64_t row_bytes = RowBytesOf<U>(op.w.cols);
  for (int i = 0; i < kLanes; ++i) {
    Piece w;
    if (row + i < row_end) {
      const std::byte* src = op.w.data + (row + i) * row_bytes;
      PrefetchAhead<kPieceBytes<U>>(src + (p + 1) * kPieceBytes<U>);
      UnpackPiece<U>(src, p, op.w.cols, w);
    } else {
      memset(&w, 0, sizeof(w));
    }
    for (int b = 0; b < kPieceBlocks; ++b) StoreAligned(s.rows[i] + 32 * b, w.q[b]);
    for (int h = 0; h < 32 / U::kGroup; ++h) {
      _mm256_store_ps(s.scale[i] + 8 * h, w.scale[h]);
      if constexpr (U::kHasMin) _mm256_store_ps(s.min[i] + 8 * h, w.min[h]);
    }
  }
  for (int j = 0; j < kQuarters; ++j) TransposeBlock(s.rows[0] + 64 * j, kPiece, panel.q[16 * j]);
  TransposeBlock(s.scale, sizeof(s.scale[0]), panel.scale);
  if constexpr (U::kHasMin) {
    TransposeBlock(s.min, sizeof(s.min[0]), panel.min);
  } else {
    FillStart<U>(panel);
  }
}

// Adds one piece of both panels times T tokens to `sums`, (T, kPanelRows).
template <class U, int T>
void PanelsTimesTokens(const Panel (&panel)[kPanels], const QuantizedPiece* x, float* sums) {
  constexpr int kDwords = U::kGroup / 4;
  __m512 acc[kPanels][T];
  Unroll<T>([&](auto t) {
    Unroll<kPanels>([&](auto p) { acc[p][t] = _mm512_load_ps(sums + t * kPanelRows + p * kLanes); });
  });
  for (int g = 0; g < kPiece / U::kGroup; ++g) {
    __m512i dot[kPanels][T];
    Unroll<kPanels>([&](auto p) {
      const __m512i start = U::kHasMin ? _mm512_setzero_si512() : Load512(panel[p].start[g]);
      Unroll<T>([&](auto t) { dot[p][t] = start; });
    });
    Unroll<kDwords>([&](auto step) {
      const int k = g * kDwords + step;
      __m512i w[kPanels];
      Unroll<kPanels>([&](auto p) { w[p] = Load512(panel[p].q[k]); });
      Unroll<T>([&](auto t) {
        const void* quad = U::kHasMin ? static_cast<const void*>(x[t].s + 4 * k) : x[t].u + 4 * k;
        const __m512i v = _mm512_set1_epi32(static_cast<int>(Load32(quad)));
        Unroll<kPanels>([&](auto p) {
          dot[p][t] = U::kHasMin ? _mm512_dpbusd_epi32(dot[p][t], w[p], v) : _mm512_dpbusd_epi32(dot[p][t], v, w[p]);
        });
      });
    });
    Unroll<T>([&](auto t) {
      const __m512 scale = _mm512_set1_ps(x[t].scale[g * U::kGroup / 32]);
      Unroll<kPanels>([&](auto p) {
        const __m512 both = _mm512_mul_ps(scale, _mm512_load_ps(panel[p].scale[g]));
        acc[p][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[p][t]), both, acc[p][t]);
      });
      if constexpr (U::kHasMin) {
        const __m512 sum = _mm512_set1_ps(U::kGroup == 32 ? x[t].sum[g] : x[t].sum16[g]);
        Unroll<kPanels>([&](auto p) { acc[p][t] = _mm512_fnmadd_ps(_mm512_load_ps(panel[p].min[g]), sum, acc[p][t]); });
      }
    });
  }
  Unroll<T>([&](auto t) {
    Unroll<kPanels>([&](auto p) { _mm512_store_ps(sums + t * kPanelRows + p * kLanes, acc[p][t]); });
  });
}

template <class U>
void PromptProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, PromptScratch& s) {
  const int64_t pieces = PieceCount(op.w.cols);
  memset(s.scale, 0, sizeof(s.scale));
  memset(s.min, 0, sizeof(s.min));
  for (int64_t row = row_begin; row < row_end; row += kPanelRows) {
    const int64_t rows = Smaller<int64_t>(kPanelRows, row_end - row);
    for (int64_t first = 0; first < op.tokens; first += kTokenChunk) {
      const int64_t tokens = Smaller(kTokenChunk, op.tokens - first);
      memset(s.sums, 0, static_cast<size_t>(tokens) * sizeof(s.sums[0]));
      for (int64_t p = 0; p < pieces; ++p) {
        for (int i = 0; i < kPanels; ++i) UnpackPanel<U>(op, row + i * kLanes, row_end, p, s, s.panel[i]);
        const QuantizedPiece* x = static_cast<const QuantizedPiece*>(op.activations) + p * op.tokens + first;
        ForTokens<kTokens>(tokens,
                           [&](auto count, int64_t t) { PanelsTimesTokens<U, count>(s.panel, x + t, s.sums[t]); });
      }
      WritePanel<kPanelRows>(op, row, rows, first, tokens, s.sums[0]);
    }
  }
}

}  // namespace

namespace avx512vnni {

size_t QuantScratchBytes(Phase phase) {
  return phase == Phase::kPrompt ? sizeof(PromptScratch) : sizeof(DecodeScratch<DecodeKernel>);
}

void QuantMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  VisitQuantized(op.w.dtype, [&]<class U>() {
    if (op.phase == Phase::kPrompt) {
      PromptProduct<U>(op, row_begin, row_end, *static_cast<PromptScratch*>(scratch));
    } else {
      DecodeProduct<U>(op, row_begin, row_end, *static_cast<DecodeScratch<DecodeKernel>*>(scratch));
    }
  });
}

}  // namespace avx512vnni
}  // namespace inkstone

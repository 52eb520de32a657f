// Products with block-quantized weights: int8 dot products over groups, scaled in f32.
#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/decode_product.h"
#include "kernels/x86/unpack.h"
#include "kernels/x86_avx2/avx2.h"
#include "kernels/x86_avx2/vec.h"

namespace inkstone {
namespace {

constexpr int kPanelRows = 32;  // rows unpacked together in the prompt phase
constexpr int kLanes = 8;       // rows in one register
constexpr int kTokens = 4;      // tokens that share a load of weights

// Eight sums of four products each: lanes 0-3 of the first 16 weights, lanes 4-7 of the others.
template <bool kUnsigned>
inline __m256i Dot32(__m256i q, __m256i x) {
  // |q| <= 128 and |x| <= 127 leave a pair's sum within 16 bits.
  const __m256i pairs =
      kUnsigned ? _mm256_maddubs_epi16(q, x) : _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

// The decode phase's part that is this target's (x86/decode_product.h).
struct DecodeKernel {
  using Unpacked = Piece;
  static constexpr int kTokens = 2;

  struct Sum {
    __m256 products[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    __m256 mins = _mm256_setzero_ps();
    float Total() const { return Vec::Sum(_mm256_sub_ps(_mm256_add_ps(products[0], products[1]), mins)); }
  };

  template <class U>
  static inline void Unpack(const std::byte* row, int64_t piece, int64_t cols, Piece& w) {
    UnpackPiece<U>(row, piece, cols, w);
  }

  template <class U>
  static inline void Dot(const Piece& w, const QuantizedPiece& x, Sum& sum) {
    __m256 scale[2];
    scale[0] = _mm256_mul_ps(w.scale[0], _mm256_load_ps(U::kGroup == 32 ? x.scale : x.scale16));
    if constexpr (U::kGroup == 16) scale[1] = _mm256_mul_ps(w.scale[1], _mm256_load_ps(x.scale16 + 8));
    Unroll<kPieceBlocks>([&](auto b) {
      const __m256 products = _mm256_cvtepi32_ps(Dot32<U::kHasMin>(w.q[b], LoadAligned(x.s + 32 * b)));
      __m256 spread;
      if constexpr (U::kGroup == 32) {
        spread = _mm256_permutevar8x32_ps(scale[0], _mm256_set1_epi32(b));
      } else {
        constexpr int kLow = 2 * b % 8, kHigh = kLow + 1;
        spread = _mm256_permutevar8x32_ps(scale[b / 4],
                                          _mm256_setr_epi32(kLow, kLow, kLow, kLow, kHigh, kHigh, kHigh, kHigh));
      }
      sum.products[b % 2] = _mm256_fmadd_ps(products, spread, sum.products[b % 2]);
    });
    if constexpr (U::kHasMin) {
      sum.mins = _mm256_fmadd_ps(w.min[0], _mm256_load_ps(U::kGroup == 32 ? x.sum : x.sum16), sum.mins);
      if constexpr (U::kGroup == 16) sum.mins = _mm256_fmadd_ps(w.min[1], _mm256_load_ps(x.sum16 + 8), sum.mins);
    }
  }
};

// One piece of eight rows, transposed: dword k of a register's lane r holds weights 4k .. 4k+3 of row r.
struct alignas(64) Panel {
  int8_t q[kPiece / 4][kLanes][4];
  float scale[kPieceGroups][kLanes];  // kPiece / kGroup used
  union {
    float min[kPieceGroups][kLanes];      // kHasMin
    int32_t start[kPieceGroups][kLanes];  // else: -128 * sum of the group's weights, as activations come plus 128
  };
};

struct alignas(64) PromptScratch {
  Panel panel[kPanelRows / kLanes];
  float sums[kTokenChunk][kPanelRows];
  int8_t rows[kLanes][kPiece];
  float scale[kLanes][kPieceGroups];
  float min[kLanes][kPieceGroups];
};

// Eight dwords of each of eight rows, `stride` bytes apart, to eight columns one after another.
inline void TransposeBlock(const void* in, int64_t stride, void* out) {
  __m256 v[8];
  for (int i = 0; i < 8; ++i) v[i] = _mm256_castsi256_ps(Load256(static_cast<const std::byte*>(in) + i * stride));
  Vec::Transpose(v);
  for (int i = 0; i < 8; ++i) StoreAligned(static_cast<std::byte*>(out) + 32 * i, _mm256_castps_si256(v[i]));
}

// Products of unsigned activations with weights up to 63 fit 16 bits; larger ones take the signed way.
template <class U>
inline constexpr bool kOffset = !U::kHasMin && U::kMaxAbs <= 63;

// -128 * the sum of each lane's weights, for each group.
template <class U>
inline void FillStart(Panel& panel) {
  constexpr int kDwords = U::kGroup / 4;
  for (int g = 0; g < kPiece / U::kGroup; ++g) {
    __m256i sum = _mm256_setzero_si256();
    for (int k = 0; k < kDwords; ++k) {
      const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), LoadAligned(panel.q[g * kDwords + k]));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(-128)));
    }
    StoreAligned(panel.start[g], sum);
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
  for (int b = 0; b < kPieceBlocks; ++b) {
    TransposeBlock(s.rows[0] + 32 * b, kPiece, panel.q[8 * b]);
  }
  for (int h = 0; h < 32 / U::kGroup; ++h) {
    TransposeBlock(s.scale[0] + 8 * h, sizeof(s.scale[0]), panel.scale[8 * h]);
    if constexpr (U::kHasMin) TransposeBlock(s.min[0] + 8 * h, sizeof(s.min[0]), panel.min[8 * h]);
  }
  if constexpr (kOffset<U>) FillStart<U>(panel);
}

inline __m256i BroadcastQuad(const void* p) { return _mm256_set1_epi32(static_cast<int>(Load32(p))); }

// Group g's integer dot products of eight rows with T tokens.
template <class U, int T>
[[gnu::always_inline]] inline void DotGroup(const Panel& panel, const QuantizedPiece* x, int g, __m256i (&dot)[T]) {
  constexpr int kDwords = U::kGroup / 4;
  // How many pair sums of 16 bits may be added before they overflow.
  constexpr int kRoom = U::kHasMin ? 32767 / (2 * 127 * U::kMaxAbs) : 32767 / (2 * 255 * U::kMaxAbs);
  constexpr int kAdd = kRoom >= kDwords ? kDwords : kRoom >= 4 ? 4 : kRoom >= 2 ? 2 : 1;
  const __m256i ones = _mm256_set1_epi16(1);
  for (int i = 0; i < T; ++i) dot[i] = kOffset<U> ? LoadAligned(panel.start[g]) : _mm256_setzero_si256();
  Unroll<kDwords / kAdd>([&](auto outer) {
    __m256i pairs[T];
    Unroll<kAdd>([&](auto inner) {
      const int k = g * kDwords + outer * kAdd + inner;
      const __m256i w = LoadAligned(panel.q[k]);
      Unroll<T>([&](auto i) {
        __m256i product;
        if constexpr (U::kHasMin) {
          product = _mm256_maddubs_epi16(w, BroadcastQuad(x[i].s + 4 * k));
        } else if constexpr (kOffset<U>) {
          product = _mm256_maddubs_epi16(BroadcastQuad(x[i].u + 4 * k), w);
        } else {
          product = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(BroadcastQuad(x[i].s + 4 * k), w));
        }
        pairs[i] = inner == 0 ? product : _mm256_add_epi16(pairs[i], product);
      });
    });
    Unroll<T>([&](auto i) { dot[i] = _mm256_add_epi32(dot[i], _mm256_madd_epi16(pairs[i], ones)); });
  });
}

// Adds one piece of eight rows times T tokens to `sums`, (T, kPanelRows).
template <class U, int T>
void PanelTimesTokens(const Panel& panel, const QuantizedPiece* x, float* sums) {
  __m256 acc[T];
  for (int i = 0; i < T; ++i) acc[i] = _mm256_load_ps(sums + i * kPanelRows);
  for (int g = 0; g < kPiece / U::kGroup; ++g) {
    __m256i dot[T];
    DotGroup<U, T>(panel, x, g, dot);
    const int block = g * U::kGroup / 32;
    const __m256 scale = _mm256_load_ps(panel.scale[g]);
    for (int i = 0; i < T; ++i) {
      const __m256 both = _mm256_mul_ps(scale, _mm256_broadcast_ss(&x[i].scale[block]));
      acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[i]), both, acc[i]);
      if constexpr (U::kHasMin) {
        const float* sum = U::kGroup == 32 ? x[i].sum : x[i].sum16;
        acc[i] = _mm256_fnmadd_ps(_mm256_load_ps(panel.min[g]), _mm256_broadcast_ss(sum + g), acc[i]);
      }
    }
  }
  for (int i = 0; i < T; ++i) _mm256_store_ps(sums + i * kPanelRows, acc[i]);
}

template <class U>
void PromptProduct(const MatMulOp& op, int64_t row_begin, int64_t row_end, PromptScratch& s) {
  const int64_t pieces = PieceCount(op.w.cols);
  for (int64_t row = row_begin; row < row_end; row += kPanelRows) {
    const int64_t rows = Smaller<int64_t>(kPanelRows, row_end - row);
    const int used = static_cast<int>((rows + kLanes - 1) / kLanes);
    for (int64_t first = 0; first < op.tokens; first += kTokenChunk) {
      const int64_t tokens = Smaller(kTokenChunk, op.tokens - first);
      memset(s.sums, 0, static_cast<size_t>(tokens) * sizeof(s.sums[0]));
      for (int64_t p = 0; p < pieces; ++p) {
        for (int i = 0; i < used; ++i) UnpackPanel<U>(op, row + i * kLanes, row_end, p, s, s.panel[i]);
        const QuantizedPiece* x = static_cast<const QuantizedPiece*>(op.activations) + p * op.tokens + first;
        ForTokens<kTokens>(tokens, [&](auto count, int64_t t) {
          for (int i = 0; i < used; ++i) PanelTimesTokens<U, count>(s.panel[i], x + t, s.sums[t] + i * kLanes);
        });
      }
      WritePanel<kPanelRows>(op, row, rows, first, tokens, s.sums[0]);
    }
  }
}

template <class U>
void DecodeRowOf(const std::byte* src, int64_t elements, float* dst) {
  for (int64_t p = 0; p < PieceCount(elements); ++p) {
    Piece w;
    UnpackPiece<U>(src, p, elements, w);
    alignas(32) int8_t q[kPiece];
    alignas(32) float scale[kPieceGroups], min[kPieceGroups] = {};
    for (int b = 0; b < kPieceBlocks; ++b) StoreAligned(q + 32 * b, w.q[b]);
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

void DecodeQuantRow(DType type, const std::byte* src, int64_t elements, float* dst) {
  VisitQuantized(type, [&]<class U>() { DecodeRowOf<U>(src, elements, dst); });
}

}  // namespace avx2
}  // namespace inkstone

// Products of the decode phase for more tokens than rows are streamed for: int8 tiles give the integer sum of each
// group of columns for 16 rows of weights and 16 tokens at once, one for each of the two parts of 15-bit activations;
// the sums are scaled and added in f32 in the order that x86/row_product.h lays down, so they have the bits that a
// token alone would get.
#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/row_product.h"
#include "kernels/x86/unpack.h"
#include "kernels/x86_amx/amx.h"
#include "kernels/x86_amx/tile_output.h"
#include "kernels/x86_amx/tiling.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"
#include "kernels/x86_avx512vnni/unpack512.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone {
namespace {

using avx512vnni::kRun;

constexpr int kQuarterBytes = 64;  // columns of a quarter of a piece
constexpr int kTileFloats = kTile * kTile;
// Pieces of kTile rows that pass together: their weights as in the file, their scales and the tiles below stay in the
// nearest cache, and a group's sums stay in registers meanwhile.
constexpr int kChunk = 4;
constexpr int64_t kMostPieceBytes = 272;  // of a quantized type: Q8_0

// A quarter of a piece of kTile tokens; tokens that are missing are zero. Value = 128 * high + low.
struct alignas(64) TokenQuarter {
  int8_t high[kRun / 4][kTile][4];  // B tiles: column 4k+i of token t is high[k][t][i]
  int8_t low[kRun / 4][kTile][4];
  float total[2][kTile];    // as QuantizedPiece::total
  float total16[4][kTile];  // as QuantizedPiece::total16
};

// Packed activations: for each batch of kTile tokens their scales, then the quarters of their columns.
struct alignas(64) BatchHead {
  float scale[kTile];
};

int64_t Batches(int64_t tokens) { return (tokens + kTile - 1) / kTile; }
int64_t BatchBytes(int64_t cols) {
  return static_cast<int64_t>(sizeof(BatchHead)) +
         PieceCount(cols) * kQuarters * static_cast<int64_t>(sizeof(TokenQuarter));
}

// --- activations ----------------------------------------------------------------------------------------------------

// 64 values of a token as two registers of bytes, in their order.
struct Parts {
  __m512i high;
  __m512i low;
};
Parts SplitValues(const int16_t* run) {
  const auto half = [](const int16_t* p) {
    const __m512i v = _mm512_load_si512(p);
    const __m512i high = _mm512_srai_epi16(_mm512_add_epi16(v, _mm512_set1_epi16(64)), 7);
    return Parts{high, _mm512_sub_epi16(v, _mm512_slli_epi16(high, 7))};
  };
  const Parts even = half(run), odd = half(run + kRun / 2);
  const auto join = [](__m512i e, __m512i o) {
    return _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaa, e, _mm512_slli_epi16(o, 8));
  };
  return {join(even.high, odd.high), join(even.low, odd.low)};
}

// Dword k of each of kTile tokens to row k.
void StoreTransposed(const __m512i (&tokens)[kTile], void* rows) {
  __m512 v[kTile];
  for (int i = 0; i < kTile; ++i) v[i] = _mm512_castsi512_ps(tokens[i]);
  Vec::Transpose(v);
  for (int i = 0; i < kTile; ++i) _mm512_store_ps(static_cast<std::byte*>(rows) + 64 * i, v[i]);
}

void PackQuarter(const QuantizedPiece* tokens, int quarter, TokenQuarter& out) {
  __m512i high[kTile], low[kTile];
  for (int t = 0; t < kTile; ++t) {
    const Parts parts = SplitValues(tokens[t].q + quarter * kRun);
    high[t] = parts.high;
    low[t] = parts.low;
    for (int i = 0; i < 2; ++i) out.total[i][t] = tokens[t].total[2 * quarter + i];
    for (int i = 0; i < 4; ++i) out.total16[i][t] = tokens[t].total16[4 * quarter + i];
  }
  StoreTransposed(high, out.high);
  StoreTransposed(low, out.low);
}

// --- products -------------------------------------------------------------------------------------------------------

struct alignas(64) GroupScratch {
  int8_t a[2][kChunk][kTile][kQuarterBytes];  // of two quarters: one is unpacked while the other is multiplied
  int32_t dots[2][kChunk][2][kTile][kTile];   // of two groups: one is multiplied while the other is added
  float scale[kTile][kChunk * kPieceGroups];
  float min[kTile][kChunk * kPieceGroups];
  float sums[kPieceGroups][kTileFloats];
  std::byte padded[kTile][kChunk * kMostPieceBytes];  // where rows or columns are missing
};

// A chunk of kTile rows times one batch of tokens: every step multiplies one piece of a group, unpacks some rows of the
// next quarter and adds a piece of the group before, so that tiles and vector units work side by side. All by value:
// tile instructions clobber memory for the compiler, and members would be read again after each.
template <class U>
struct Chunk {
  static constexpr int kGroups = kPiece / U::kGroup;
  static constexpr int kQuarterGroups = kGroups / kQuarters;
  static constexpr int kRowsAtATime = kTile / kQuarterGroups;
  static constexpr int kStepRows = kTile / kGroups;  // whose pieces a step takes from memory, on average
  using Block = typename U::Block;

  const std::byte* rows;  // first piece of the first row
  int64_t stride;         // between rows
  const std::byte* next;  // memory that is read next, as much as this chunk has; or null
  int pieces;
  const TokenQuarter* x;
  GroupScratch* s;

  const Block* At(int i, int p) const { return reinterpret_cast<const Block*>(rows + i * stride + p * kPieceBytes<U>); }

  [[gnu::always_inline]] inline void FillScales() const {
    for (int i = 0; i < kTile; ++i) {
      for (int p = 0; p < pieces; ++p) {
        Piece scales;
        Wide<U>::Scales(At(i, p), scales);
        for (int h = 0; h < 32 / U::kGroup; ++h) {
          _mm256_store_ps(s->scale[i] + p * kGroups + 8 * h, scales.scale[h]);
          if constexpr (U::kHasMin) _mm256_store_ps(s->min[i] + p * kGroups + 8 * h, scales.min[h]);
        }
      }
    }
  }

  // Unpacks quarter kQuarter of piece p of kCount rows from `first` on.
  template <int kQuarter, int kCount>
  [[gnu::always_inline]] inline void FillRows(int p, int first) const {
    Unroll<kCount>([&](auto i) {
      __m512i q[kQuarters];
      Wide<U>::Weights(At(first + i, p), q);
      if constexpr (U::kBias != 0) q[kQuarter] = _mm512_sub_epi8(q[kQuarter], _mm512_set1_epi8(U::kBias));
      _mm512_store_si512(s->a[kQuarter % 2][p][first + i], q[kQuarter]);
    });
  }

  template <int kQuarter, int kSet>
  [[gnu::always_inline]] inline void Multiply(int g, int p) const {
    const TokenQuarter& tokens = x[p * kQuarters + kQuarter];
    LoadTile<4 + kSet>(s->a[kQuarter % 2][p][0] + g * U::kGroup, kQuarterBytes);
    LoadTile<6>(tokens.high[g * U::kGroup / 4]);
    LoadTile<7>(tokens.low[g * U::kGroup / 4]);
    ZeroTile<2 * kSet>();
    MultiplyInt8<2 * kSet, 4 + kSet, 6>();
    ZeroTile<2 * kSet + 1>();
    MultiplyInt8<2 * kSet + 1, 4 + kSet, 7>();
  }
  template <int kSet>
  [[gnu::always_inline]] inline void Store(int group, int p) const {
    StoreTile<2 * kSet>(s->dots[group % 2][p][0]);
    StoreTile<2 * kSet + 1>(s->dots[group % 2][p][1]);
  }

  // Adds piece p of a group's integer sums, times their scales, to acc.
  [[gnu::always_inline]] inline void Add(int group, int p, __m512 (&acc)[kTile]) const {
    const auto& dots = s->dots[group % 2][p];
    const int place = p * kGroups + group;
    const TokenQuarter& tokens = x[p * kQuarters + group / kQuarterGroups];
    const int g = group % kQuarterGroups;
    const __m512 total = _mm512_load_ps(U::kGroup == 32 ? tokens.total[g] : tokens.total16[g]);
    Unroll<kTile>([&](auto r) {
      const __m512i high = _mm512_slli_epi32(_mm512_load_si512(dots[0][r]), 7);
      const __m512 dot = _mm512_cvtepi32_ps(_mm512_add_epi32(high, _mm512_load_si512(dots[1][r])));
      acc[r] = _mm512_fmadd_ps(dot, _mm512_set1_ps(s->scale[r][place]), acc[r]);
      if constexpr (U::kHasMin) acc[r] = _mm512_fnmadd_ps(_mm512_set1_ps(s->min[r][place]), total, acc[r]);
    });
  }
  [[gnu::always_inline]] inline void LoadSums(int group, __m512 (&acc)[kTile]) const {
    Unroll<kTile>([&](auto r) { acc[r] = _mm512_load_ps(s->sums[group] + r * kTile); });
  }
  [[gnu::always_inline]] inline void StoreSums(int group, const __m512 (&acc)[kTile]) const {
    Unroll<kTile>([&](auto r) { _mm512_store_ps(s->sums[group] + r * kTile, acc[r]); });
  }

  // Every step touches as much of what is read later as it takes itself, so that memory delivers evenly: the rows after
  // these in the order of the file, to L2, and the next chunk of these rows, to L1.
  [[gnu::always_inline]] inline void PrefetchStep(int group, int p) const {
    if (next != nullptr) {
      PrefetchAhead<kStepRows * kPieceBytes<U>, 2>(next + (group * pieces + p) * kStepRows * kPieceBytes<U>);
    }
    Unroll<kStepRows>([&](auto i) {
      PrefetchAhead<kPieceBytes<U>>(rows + (group * kStepRows + i) * stride + (pieces + p) * kPieceBytes<U>);
    });
  }

  // One step of group g of a quarter. Tiles are stored a step after they were multiplied, by when they are ready.
  template <int kQuarter, int kSet>
  [[gnu::always_inline]] inline void Step(int g, int p, __m512 (&acc)[kTile]) const {
    const int group = kQuarter * kQuarterGroups + g;
    Multiply<kQuarter, kSet>(g, p);
    if (p > 0) Store<1 - kSet>(group, p - 1);
    PrefetchStep(group, p);
    if constexpr (kQuarter + 1 < kQuarters) FillRows<kQuarter + 1, kRowsAtATime>(p, g * kRowsAtATime);
    if (kQuarter > 0 || group > 0) Add(group - 1, p, acc);
  }

  template <int kQuarter>
  [[gnu::always_inline]] inline void Group(int g) const {
    const int group = kQuarter * kQuarterGroups + g;
    __m512 acc[kTile];
    LoadSums(group == 0 ? 0 : group - 1, acc);
    for (int p = 0; p < pieces; p += 2) {
      Step<kQuarter, 0>(g, p, acc);
      if (p + 1 < pieces) Step<kQuarter, 1>(g, p + 1, acc);
    }
    pieces % 2 == 0 ? Store<1>(group, pieces - 1) : Store<0>(group, pieces - 1);
    if (group > 0) StoreSums(group - 1, acc);
  }

  template <int kQuarter>
  [[gnu::always_inline]] inline void Quarter() const {
    for (int g = 0; g < kQuarterGroups; ++g) Group<kQuarter>(g);
  }

  void Run() const {
    static_assert(kQuarters == 4);
    const Chunk local = *this;
    local.FillScales();
    for (int p = 0; p < pieces; ++p) {
      for (int i = 0; i < kTile; i += 2) local.template FillRows<0, 2>(p, i);
    }
    local.template Quarter<0>();
    local.template Quarter<1>();
    local.template Quarter<2>();
    local.template Quarter<3>();
    __m512 acc[kTile];
    local.LoadSums(kGroups - 1, acc);
    for (int p = 0; p < pieces; ++p) local.Add(kGroups - 1, p, acc);
    local.StoreSums(kGroups - 1, acc);
  }
};

// Rows [row, row_end), at most kTile, times one batch of tokens.
template <class U>
void MultiplyRows(const MatMulOp& op, int64_t row, int64_t row_end, int64_t batch, GroupScratch& s) {
  static_assert(kPieceBytes<U> <= kMostPieceBytes);
  constexpr int kGroups = Chunk<U>::kGroups;
  const int64_t row_bytes = RowBytesOf<U>(op.w.cols), pieces = PieceCount(op.w.cols);
  const std::byte* rows = op.w.data + row * row_bytes;
  const std::byte* packed = static_cast<const std::byte*>(op.activations) + batch * BatchBytes(op.w.cols);
  const auto* head = reinterpret_cast<const BatchHead*>(packed);
  const auto* quarters = reinterpret_cast<const TokenQuarter*>(packed + sizeof(BatchHead));
  memset(s.sums, 0, sizeof(s.sums[0]) * kGroups);
  for (int64_t p = 0; p < pieces; p += kChunk) {
    const std::byte* first = rows + p * kPieceBytes<U>;
    Chunk<U> chunk{.rows = first,
                   .stride = row_bytes,
                   .next = batch == 0 ? rows + kTile * (row_bytes + p * kPieceBytes<U>) : nullptr,
                   .pieces = static_cast<int>(Smaller<int64_t>(kChunk, pieces - p)),
                   .x = quarters + p * kQuarters,
                   .s = &s};
    const int64_t bytes = Smaller(chunk.pieces * kPieceBytes<U>, row_bytes - p * kPieceBytes<U>);
    if (row + kTile > row_end || bytes < chunk.pieces * kPieceBytes<U>) {
      for (int64_t i = 0; i < kTile; ++i) {
        const int64_t present = row + i < row_end ? bytes : 0;
        memcpy(s.padded[i], first + i * row_bytes, static_cast<size_t>(present));
        memset(s.padded[i] + present, 0, static_cast<size_t>(chunk.pieces * kPieceBytes<U> - present));
      }
      chunk.rows = s.padded[0];
      chunk.stride = sizeof(s.padded[0]);
    }
    chunk.Run();
  }
  ReduceSums<kGroups, kTileFloats>(s.sums[0], kTileFloats);
  const __m512 scale = _mm512_load_ps(head->scale);
  for (int r = 0; r < kTile; ++r) {
    float* sums = s.sums[0] + r * kTile;
    _mm512_store_ps(sums, _mm512_mul_ps(_mm512_load_ps(sums), scale));
  }
  WriteTile(op, row, row_end - row, batch * kTile, op.tokens - batch * kTile, s.sums[0]);
}

}  // namespace

namespace amx {

static_assert(kBatchTokens == kTile);

size_t PackedGroupBytes(int64_t tokens, int64_t cols) {
  return static_cast<size_t>(Batches(tokens) * BatchBytes(cols));
}

void PackGroups(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, int64_t token_begin, int64_t token_end,
                void* packed) {
  for (int64_t first = token_begin; first < token_end; first += kTile) {
    std::byte* out = static_cast<std::byte*>(packed) + first / kTile * BatchBytes(cols);
    const auto count = static_cast<int>(Smaller<int64_t>(kTile, tokens - first));
    TokenScale scales[kTile];
    auto* head = reinterpret_cast<BatchHead*>(out);
    for (int t = 0; t < kTile; ++t) {
      if (t < count) scales[t] = ScaleOf(x + (first + t) * x_stride, cols);
      head->scale[t] = scales[t].scale;
    }
    auto* quarters = reinterpret_cast<TokenQuarter*>(out + sizeof(BatchHead));
    QuantizedPiece pieces[kTile] = {};
    for (int64_t p = 0; p < PieceCount(cols); ++p) {
      for (int t = 0; t < count; ++t) QuantizePiece<kRun>(x + (first + t) * x_stride, p, cols, scales[t], pieces[t]);
      for (int j = 0; j < kQuarters; ++j) PackQuarter(pieces, j, quarters[p * kQuarters + j]);
    }
  }
}

size_t GroupScratchBytes() { return sizeof(GroupScratch); }

void GroupMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  GroupScratch& s = *static_cast<GroupScratch*>(scratch);
  VisitQuantized(op.w.dtype, [&]<class U>() {
    const TileRegisters registers(U::kGroup);
    for (int64_t row = row_begin; row < row_end; row += kTile) {
      for (int64_t batch = 0; batch < Batches(op.tokens); ++batch) MultiplyRows<U>(op, row, row_end, batch, s);
    }
  });
}

}  // namespace amx
}  // namespace inkstone

// Products of the decode phase for more tokens than rows are streamed for: int8 tiles give the integer sum of each
// group of columns for 16 rows of weights and 16 tokens at once; the sums are scaled and added in f32 in the order that
// x86/row_product.h lays down, so they have the bits that a token alone would get.
#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/row_product.h"
#include "kernels/x86/unpack.h"
#include "kernels/x86_amx/amx.h"
#include "kernels/x86_amx/tile_output.h"
#include "kernels/x86_amx/tiling.h"
#include "kernels/x86_avx512vnni/unpack512.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone {
namespace {

// 32 columns of kTile tokens; tokens that are missing have scale 0.
struct alignas(64) TokenBlock {
  int8_t q[8][kTile][4];  // a B tile: column 4k+i of token t is q[k][t][i]
  float scale[kTile];
  float sum[kTile];       // as QuantizedPiece::sum
  float sum16[2][kTile];  // as QuantizedPiece::sum16
};
constexpr int kBlockBytes = 32;
constexpr int kTileFloats = kTile * kTile;

// A piece of kTile rows ready to be multiplied.
struct alignas(64) WeightBlocks {
  int8_t a[kPieceBlocks][kTile][kBlockBytes];
  float scale[kTile][kPieceGroups];
  float min[kTile][kPieceGroups];
};

// Of three pieces one is unpacked, one multiplied and one added at a time. With a piece of the activations (6 KB) all
// of it stays in the nearest cache where groups have 32 columns.
struct alignas(64) GroupScratch {
  WeightBlocks weights[3];
  int32_t dots[kPieceGroups][kTile][kTile];
  float sums[kPieceGroups * kTileFloats];
};

int64_t Batches(int64_t tokens) { return (tokens + kTile - 1) / kTile; }

// --- activations ----------------------------------------------------------------------------------------------------

void PackToken(const QuantizedPiece& x, int t, TokenBlock* out) {
  for (int b = 0; b < kPieceBlocks; ++b) {
    for (int k = 0; k < 8; ++k) memcpy(out[b].q[k][t], x.q + b * kBlockBytes + 4 * k, 4);
    out[b].scale[t] = x.scale[b];
    out[b].sum[t] = x.sum[b];
    out[b].sum16[0][t] = x.sum16[2 * b];
    out[b].sum16[1][t] = x.sum16[2 * b + 1];
  }
}

// --- weights --------------------------------------------------------------------------------------------------------

template <class U>
void FillRow(const std::byte* row, int64_t piece, int64_t cols, int i, WeightBlocks& w) {
  Piece p;
  __m512i q[kQuarters];
  WithPiece<U>(row, piece, cols, [&](const typename U::Block* b) {
    Wide<U>::Weights(b, q);
    U::Scales(b, p);
  });
  for (int j = 0; j < kQuarters; ++j) {
    if constexpr (U::kBias != 0) q[j] = _mm512_sub_epi8(q[j], _mm512_set1_epi8(U::kBias));
    StoreAligned(w.a[2 * j][i], _mm512_castsi512_si256(q[j]));
    StoreAligned(w.a[2 * j + 1][i], _mm512_extracti64x4_epi64(q[j], 1));
  }
  for (int h = 0; h < 32 / U::kGroup; ++h) {
    _mm256_store_ps(w.scale[i] + 8 * h, p.scale[h]);
    if constexpr (U::kHasMin) _mm256_store_ps(w.min[i] + 8 * h, p.min[h]);
  }
}

// --- products -------------------------------------------------------------------------------------------------------

// Rows [row_begin, row_end) times one batch of tokens. Pieces of kTile rows pass three stages, which take turns group
// by group so that the tiles multiply while vector units unpack and add.
template <class U>
class Stream {
 public:
  Stream(const MatMulOp& op, int64_t row_begin, int64_t row_end, int64_t batch, GroupScratch& s)
      : op_(op), row_begin_(row_begin), row_end_(row_end), batch_(batch), pieces_(PieceCount(op.w.cols)), s_(s) {}

  void Run() {
    const int64_t count = Batches(row_end_ - row_begin_) * pieces_;
    memset(s_.sums, 0, sizeof(s_.sums));
    Stage add{}, multiply{}, fill = Begin(row_begin_, 0, &s_.weights[0]);
    for (int64_t n = -1; n <= count; ++n) {
      const bool multiplies = n >= 0 && n < count;
      for (int g = 0; g < kGroups; g += 4) {
        Unroll<4>([&](auto i) {
          // Tiles are loaded a group ahead and stored two groups behind, by when they are ready.
          if (g + i >= 2 ? multiplies : n > 0) StoreTile<(i + 2) % 4>(s_.dots[(g + i + kGroups - 2) % kGroups]);
          if (multiplies) {
            ZeroTile<i>();
            MultiplyInt8<i, 4 + i % 2, 6 + i % 2>();
          }
          if (n + 1 < count) Fill(fill, g + i);
          if (g + i + 1 < kGroups ? multiplies : n + 1 < count) {
            const Stage& next = g + i + 1 < kGroups ? multiply : fill;
            LoadTile<4 + (i + 1) % 2>(TileA(next, (g + i + 1) % kGroups), kBlockBytes);
            LoadTile<6 + (i + 1) % 2>(TileB(next, (g + i + 1) % kGroups));
          }
          if (n > 0) Add(add, g + i);
        });
      }
      if (n > 0 && add.piece + 1 == pieces_) Finish(add.row);
      add = multiply;
      multiply = fill;
      fill = Next(fill);
    }
  }

 private:
  static constexpr int kGroups = kPiece / U::kGroup;
  static constexpr int kRowsAtATime = kTile / kGroups;

  // A piece of kTile rows on its way.
  struct Stage {
    int64_t row;
    int64_t piece;
    WeightBlocks* weights;
    const TokenBlock* tokens;
  };
  Stage Begin(int64_t row, int64_t piece, WeightBlocks* weights) const {
    const auto* blocks = static_cast<const TokenBlock*>(op_.activations) + batch_ * pieces_ * kPieceBlocks;
    return {row, piece, weights, blocks + piece * kPieceBlocks};
  }
  Stage Next(const Stage& s) const {
    WeightBlocks* weights = s.weights == &s_.weights[2] ? &s_.weights[0] : s.weights + 1;
    return s.piece + 1 < pieces_ ? Begin(s.row, s.piece + 1, weights) : Begin(s.row + kTile, 0, weights);
  }
  static const TokenBlock& Tokens(const Stage& s, int g) { return s.tokens[g * U::kGroup / kBlockBytes]; }

  // Unpacks some rows; rows from row_end on are like the last. Each also touches as much of what memory is read
  // next, in the order of the file.
  void Fill(const Stage& s, int g) const {
    const int64_t row_bytes = RowBytesOf<U>(op_.w.cols);
    const std::byte* next = op_.w.data + (s.row + kTile) * row_bytes + s.piece * kTile * kPieceBytes<U>;
    for (int i = g * kRowsAtATime; i < (g + 1) * kRowsAtATime; ++i) {
      PrefetchAhead<kPieceBytes<U>>(next + i * kPieceBytes<U>);
      FillRow<U>(op_.w.data + Smaller(s.row + i, row_end_ - 1) * row_bytes, s.piece, op_.w.cols, i, *s.weights);
    }
  }

  static const int8_t* TileA(const Stage& s, int g) {
    return s.weights->a[g * U::kGroup / kBlockBytes][0] + g * U::kGroup % kBlockBytes;
  }
  static const void* TileB(const Stage& s, int g) { return Tokens(s, g).q[g * U::kGroup % kBlockBytes / 4]; }

  // Scales group g's integer sums and adds them.
  void Add(const Stage& s, int g) const {
    const WeightBlocks& w = *s.weights;
    const TokenBlock& block = Tokens(s, g);
    const __m512 scale = _mm512_load_ps(block.scale);
    const __m512 sum = _mm512_load_ps(U::kGroup == 32 ? block.sum : block.sum16[g % 2]);
    Unroll<kTile>([&](auto r) {
      const __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512(s_.dots[g][r]));
      float* place = s_.sums + g * kTileFloats + r * kTile;
      __m512 acc = _mm512_load_ps(place);
      acc = _mm512_fmadd_ps(dot, _mm512_mul_ps(_mm512_set1_ps(w.scale[r][g]), scale), acc);
      if constexpr (U::kHasMin) acc = _mm512_fnmadd_ps(_mm512_set1_ps(w.min[r][g]), sum, acc);
      _mm512_store_ps(place, acc);
    });
  }

  // Writes the sums of kTile rows.
  void Finish(int64_t row) const {
    ReduceSums<kGroups, kTileFloats>(s_.sums, kTileFloats);
    const int64_t token = batch_ * kTile;
    WriteTile(op_, row, row_end_ - row, token, op_.tokens - token, s_.sums);
    memset(s_.sums, 0, sizeof(s_.sums));
  }

  const MatMulOp& op_;
  int64_t row_begin_;
  int64_t row_end_;
  int64_t batch_;
  int64_t pieces_;
  GroupScratch& s_;
};

}  // namespace

namespace amx {

static_assert(kBatchTokens == kTile);

size_t PackedGroupBytes(int64_t tokens, int64_t cols) {
  return static_cast<size_t>(Batches(tokens) * PieceCount(cols) * kPieceBlocks) * sizeof(TokenBlock);
}

void PackGroups(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, int64_t token_begin, int64_t token_end,
                void* packed) {
  const int64_t pieces = PieceCount(cols);
  const QuantizedPiece missing{};
  for (int64_t t = token_begin; t < Batches(token_end) * kTile; ++t) {
    auto* out = static_cast<TokenBlock*>(packed) + t / kTile * pieces * kPieceBlocks;
    for (int64_t p = 0; p < pieces; ++p) {
      QuantizedPiece piece;
      if (t < tokens) QuantizePiece(x + t * x_stride, p, cols, piece);
      PackToken(t < tokens ? piece : missing, static_cast<int>(t % kTile), out + p * kPieceBlocks);
    }
  }
}

size_t GroupScratchBytes() { return sizeof(GroupScratch); }

void GroupMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  GroupScratch& s = *static_cast<GroupScratch*>(scratch);
  VisitQuantized(op.w.dtype, [&]<class U>() {
    const TileRegisters registers(U::kGroup);
    for (int64_t batch = 0; batch < Batches(op.tokens); ++batch) Stream<U>(op, row_begin, row_end, batch, s).Run();
  });
}

}  // namespace amx
}  // namespace inkstone

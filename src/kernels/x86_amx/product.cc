// Products of the prompt phase: weights are unpacked to bf16 tiles, scales included, and multiplied with bf16
// activations; sums stay in f32 through all columns in one order.
#include "kernels/simd/matmul_common.h"
#include "kernels/x86/activations.h"
#include "kernels/x86/unpack.h"
#include "kernels/x86_amx/amx.h"
#include "kernels/x86_amx/tile_output.h"
#include "kernels/x86_amx/tiling.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone {
namespace {

// Sizes and what they are for. A block of kPiece columns of kPair weight rows is unpacked into 16 KB, which stay in the
// nearest cache while all tokens of a chunk stream past them from L2: 16 KB for each 32 tokens, half of the loads. The
// sums of kRowBlock rows and kTokenChunk tokens (512 KB) and one block of columns of the activations (256 KB) fit in an
// L2 of 2 MB for two threads, so sums travel between L2 and the tiles once for each block of columns.
constexpr int kSteps = kPiece / kStep;
constexpr int64_t kRowBlock = 256;
constexpr int64_t kPrefetchBytes = 4 * 1024;  // ahead in the stream of activations: two steps

struct alignas(64) TileScratch {
  std::byte a[kSteps][2][kTileBytes];
  float c[kRowBlock / kPair][kTokenChunk / kPair][kSquare];
};

// Packed activations: for each block of kPiece columns, for each kPair tokens, for each step: two B tiles. What is
// missing of a last step or of the last tokens is zero.
int64_t Steps(int64_t cols) { return (cols + kStep - 1) / kStep; }
int64_t TileOffset(int64_t step, int64_t pair, int64_t pairs, int64_t steps) {
  const int64_t block = step / kSteps * kSteps;
  const int64_t in_block = Smaller<int64_t>(kSteps, steps - block);
  return (block * pairs + pair * in_block + step - block) * 2 * kTileBytes;
}

// 32 columns of a token from `col` on as bf16; what lies beyond `cols` is zero.
__m512i LoadColumns(const float* x, int64_t col, int64_t cols) {
  if (col + kStep <= cols) return ToBf16(_mm512_loadu_ps(x + col), _mm512_loadu_ps(x + col + 16));
  float padded[kStep] = {};
  memcpy(padded, x + col, static_cast<size_t>(cols - col) * sizeof(float));
  return ToBf16(_mm512_loadu_ps(padded), _mm512_loadu_ps(padded + 16));
}

// --- weights to A tiles ---------------------------------------------------------------------------------------------

void StoreStep(std::byte* out, int step, __m512i v) { _mm512_store_si512(out + step * 2 * kTileBytes, v); }

// Scales, and mins, of a piece's groups.
struct Scales {
  alignas(32) float scale[kPieceGroups];
  alignas(32) float min[kPieceGroups];

  template <class U>
  __m512 Apply(__m512 q, int group) const {
    if constexpr (U::kHasMin) return _mm512_fmsub_ps(q, _mm512_set1_ps(scale[group]), _mm512_set1_ps(min[group]));
    return _mm512_mul_ps(q, _mm512_set1_ps(scale[group]));
  }
};

template <class U>
__m512i Scale(__m256i q, const Scales& scales, int b) {
  const __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(q)));
  const __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(q, 1)));
  const bool one = U::kGroup == 32;
  return ToBf16(scales.Apply<U>(low, one ? b : 2 * b), scales.Apply<U>(high, one ? b : 2 * b + 1));
}

// kPiece columns of one row, 64 bytes per step.
template <class U>
void FillRow(const MatMulOp& op, int64_t row, int64_t piece, std::byte* out) {
  const std::byte* src = op.w.data + row * RowBytesOf<U>(op.w.cols);
  PrefetchAhead<kPieceBytes<U>>(src + (piece + 1) * kPieceBytes<U>);
  Piece p;
  UnpackPiece<U>(src, piece, op.w.cols, p);
  Scales scales;
  for (int h = 0; h < 32 / U::kGroup; ++h) {
    _mm256_store_ps(scales.scale + 8 * h, p.scale[h]);
    if constexpr (U::kHasMin) _mm256_store_ps(scales.min + 8 * h, p.min[h]);
  }
  for (int b = 0; b < kPieceBlocks; ++b) {
    StoreStep(out, b, Scale<U>(WithoutBias<U>(p.q[b]), scales, b));
  }
}

template <class U>
void UnpackBlock(const MatMulOp& op, int64_t row, int64_t row_end, int64_t piece, TileScratch& s) {
  for (int i = 0; i < kPair; ++i) {
    std::byte* out = s.a[0][i / kTile] + i % kTile * 64;
    if (row + i < row_end) {
      FillRow<U>(op, row + i, piece, out);
    } else {
      for (int step = 0; step < kSteps; ++step) StoreStep(out, step, _mm512_setzero_si512());
    }
  }
}

// Adds `steps` steps of the unpacked block times all tokens of a chunk, `b` its first B tile, to sums c.
void MultiplyBlock(const TileScratch& s, const std::byte* b, int64_t steps, int64_t pairs, bool first,
                   float (*c)[kSquare]) {
  for (int64_t pair = 0; pair < pairs; ++pair) {
    first ? ZeroSquare() : LoadSquare(c[pair]);
    for (int64_t step = 0; step < steps; ++step) {
      for (int i = 0; i < 2 * kTileBytes; i += 64)
        _mm_prefetch(reinterpret_cast<const char*>(b + kPrefetchBytes + i), _MM_HINT_T0);
      MultiplySquare(s.a[step][0], b);
      b += 2 * kTileBytes;
    }
    StoreSquare(c[pair]);
  }
}

// Rows [row, row_end), at most kRowBlock, times tokens [token, token + tokens), at most kTokenChunk.
template <class U>
void MultiplyChunk(const MatMulOp& op, int64_t row, int64_t row_end, int64_t token, int64_t tokens, TileScratch& s) {
  const int64_t steps = Steps(op.w.cols), pairs = Pairs(op.tokens), chunk_pairs = Pairs(tokens);
  for (int64_t piece = 0; piece * kSteps < steps; ++piece) {
    const int64_t count = Smaller<int64_t>(kSteps, steps - piece * kSteps);
    const std::byte* b =
        static_cast<const std::byte*>(op.activations) + TileOffset(piece * kSteps, token / kPair, pairs, steps);
    for (int64_t r = row; r < row_end; r += kPair) {
      UnpackBlock<U>(op, r, row_end, piece, s);
      MultiplyBlock(s, b, count, chunk_pairs, piece == 0, s.c[(r - row) / kPair]);
    }
  }
  for (int64_t r = row; r < row_end; r += kTile) {
    for (int64_t t = 0; t < tokens; t += kTile) {
      const float* square = s.c[(r - row) / kPair][t / kPair];
      WriteTile(op, r, row_end - r, token + t, tokens - t, square + ((r - row) / kTile % 2 * 2 + t / kTile % 2) * 256);
    }
  }
}

template <class U>
void Multiply(const MatMulOp& op, int64_t row_begin, int64_t row_end, TileScratch& s) {
  const TileRegisters registers;
  for (int64_t t = 0; t < op.tokens; t += kTokenChunk) {
    for (int64_t r = row_begin; r < row_end; r += kRowBlock) {
      MultiplyChunk<U>(op, r, Smaller(row_end, r + kRowBlock), t, Smaller(kTokenChunk, op.tokens - t), s);
    }
  }
}

}  // namespace

namespace amx {

static_assert(kPackGrain == kPair);

size_t PackedTileBytes(int64_t tokens, int64_t cols) {
  // The stream is prefetched beyond its end, which is harmless.
  return static_cast<size_t>(Steps(cols) * Pairs(tokens) * 2 * kTileBytes);
}

void PackTiles(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, int64_t token_begin, int64_t token_end,
               void* packed) {
  const int64_t steps = Steps(cols), pairs = Pairs(tokens);
  for (int64_t t = token_begin; t < Pairs(token_end) * kPair; t += kTile) {
    for (int64_t step = 0; step < steps; ++step) {
      __m512 v[kTile];  // row i: the 16 pairs of token t + i
      for (int i = 0; i < kTile; ++i) {
        v[i] =
            t + i < tokens ? _mm512_castsi512_ps(LoadColumns(x + (t + i) * x_stride, step * kStep, cols)) : Vec::Zero();
      }
      Vec::Transpose(v);
      std::byte* out =
          static_cast<std::byte*>(packed) + TileOffset(step, t / kPair, pairs, steps) + t / kTile % 2 * kTileBytes;
      for (int i = 0; i < kTile; ++i) _mm512_store_ps(out + i * 64, v[i]);
    }
  }
}

size_t TileScratchBytes() { return sizeof(TileScratch); }

void TileMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  TileScratch& s = *static_cast<TileScratch*>(scratch);
  VisitQuantized(op.w.dtype, [&]<class U>() { Multiply<U>(op, row_begin, row_end, s); });
}

}  // namespace amx
}  // namespace inkstone

// Products of the prompt phase: weights are unpacked to bf16 tiles, scales included, and multiplied with bf16
// activations; sums stay in f32 through all columns in one order. Float weights are promised more: they and their
// activations are split into two bf16 each, and of the four products only that of the two small parts is left out,
// which keeps 16 bits of every factor.
#include "kernels/simd/elements.h"
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
  std::byte small[kSteps][2][kTileBytes];  // the second parts of split weights
  float c[kRowBlock / kPair][kTokenChunk / kPair][kSquare];
};

// Packed activations: for each block of kPiece columns, for each kPair tokens, for each step: two B tiles, and with
// split activations two more of their small parts. What is missing of a last step or of the last tokens is zero.
int64_t Steps(int64_t cols) { return (cols + kStep - 1) / kStep; }
int64_t TileOffset(int64_t step, int64_t pair, int64_t pairs, int64_t steps, int parts) {
  const int64_t block = step / kSteps * kSteps;
  const int64_t in_block = Smaller<int64_t>(kSteps, steps - block);
  return (block * pairs + pair * in_block + step - block) * 2 * parts * kTileBytes;
}

// 32 values as bf16, and what that leaves of them.
struct Split {
  __m512i main;
  __m512i rest;
};
__m512 ToFloat(__m512i bf16, int half) {
  const __m256i v = half == 0 ? _mm512_castsi512_si256(bf16) : _mm512_extracti64x4_epi64(bf16, 1);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}
Split SplitValues(__m512 low, __m512 high) {
  Split split;
  split.main = ToBf16(low, high);
  split.rest = ToBf16(_mm512_sub_ps(low, ToFloat(split.main, 0)), _mm512_sub_ps(high, ToFloat(split.main, 1)));
  return split;
}

// 16 columns of a vector of elements E from `col` on; what lies beyond `cols` is zero.
template <class E>
__m512 LoadColumns(const void* vector, int64_t col, int64_t cols) {
  return LoadElements<Vec, E>(static_cast<const std::byte*>(vector) + col * E::kBytes, cols - col);
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

// How tiles are filled from weights of a type, and what is multiplied with what.
template <class U>
struct Quantized {
  static constexpr int kParts = 1;           // of activations
  static constexpr bool kSplitRows = false;  // whether weights have a second part
  static void Fill(const MatMulOp& op, int64_t row, int64_t piece, std::byte* out, std::byte*) {
    FillRow<U>(op, row, piece, out);
  }
};
// E: F16, whose values are the sum of two bf16, or BF16.
template <class E>
struct Float {
  static constexpr int kParts = 2;
  static constexpr bool kSplitRows = std::is_same_v<E, ElementF16>;
  static void Fill(const MatMulOp& op, int64_t row, int64_t piece, std::byte* out, std::byte* small) {
    const std::byte* src = op.w.data + row * op.w.cols * E::kBytes;
    for (int step = 0; step < kSteps; ++step) {
      const int64_t col = piece * kPiece + step * kStep;
      const Split split = SplitValues(LoadColumns<E>(src, col, op.w.cols), LoadColumns<E>(src, col + 16, op.w.cols));
      StoreStep(out, step, split.main);
      if constexpr (kSplitRows) StoreStep(small, step, split.rest);
    }
  }
};

template <class W>
void UnpackBlock(const MatMulOp& op, int64_t row, int64_t row_end, int64_t piece, TileScratch& s) {
  for (int i = 0; i < kPair; ++i) {
    const int64_t offset = i % kTile * 64;
    W::Fill(op, Smaller(row + i, row_end - 1), piece, s.a[0][i / kTile] + offset, s.small[0][i / kTile] + offset);
  }
}

// Adds `steps` steps of the unpacked block times all tokens of a chunk, `b` its first B tile, to sums c.
template <class W>
void MultiplyBlock(const TileScratch& s, const std::byte* b, int64_t steps, int64_t pairs, bool first,
                   float (*c)[kSquare]) {
  constexpr int kBytes = 2 * W::kParts * kTileBytes;  // of activations in a step
  for (int64_t pair = 0; pair < pairs; ++pair) {
    first ? ZeroSquare() : LoadSquare(c[pair]);
    for (int64_t step = 0; step < steps; ++step) {
      for (int i = 0; i < kBytes; i += 64)
        _mm_prefetch(reinterpret_cast<const char*>(b + kPrefetchBytes + i), _MM_HINT_T0);
      MultiplySquare(s.a[step][0], b);
      if constexpr (W::kParts == 2) MultiplySquare(s.a[step][0], b + 2 * kTileBytes);
      if constexpr (W::kSplitRows) MultiplySquare(s.small[step][0], b);
      b += kBytes;
    }
    StoreSquare(c[pair]);
  }
}

// Rows [row, row_end), at most kRowBlock, times tokens [token, token + tokens), at most kTokenChunk.
template <class W>
void MultiplyChunk(const MatMulOp& op, int64_t row, int64_t row_end, int64_t token, int64_t tokens, TileScratch& s) {
  const int64_t steps = Steps(op.w.cols), pairs = Pairs(op.tokens), chunk_pairs = Pairs(tokens);
  for (int64_t piece = 0; piece * kSteps < steps; ++piece) {
    const int64_t count = Smaller<int64_t>(kSteps, steps - piece * kSteps);
    const std::byte* b = static_cast<const std::byte*>(op.activations) +
                         TileOffset(piece * kSteps, token / kPair, pairs, steps, W::kParts);
    for (int64_t r = row; r < row_end; r += kPair) {
      UnpackBlock<W>(op, r, row_end, piece, s);
      MultiplyBlock<W>(s, b, count, chunk_pairs, piece == 0, s.c[(r - row) / kPair]);
    }
  }
  for (int64_t r = row; r < row_end; r += kTile) {
    for (int64_t t = 0; t < tokens; t += kTile) {
      const float* square = s.c[(r - row) / kPair][t / kPair];
      WriteTile(op, r, row_end - r, token + t, tokens - t, square + ((r - row) / kTile % 2 * 2 + t / kTile % 2) * 256);
    }
  }
}

template <class W>
void Multiply(const MatMulOp& op, int64_t row_begin, int64_t row_end, TileScratch& s) {
  const TileRegisters registers;
  for (int64_t t = 0; t < op.tokens; t += kTokenChunk) {
    for (int64_t r = row_begin; r < row_end; r += kRowBlock) {
      MultiplyChunk<W>(op, r, Smaller(row_end, r + kRowBlock), t, Smaller(kTokenChunk, op.tokens - t), s);
    }
  }
}

template <int kParts>
void PackParts(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, int64_t token_begin, int64_t token_end,
               void* packed) {
  const int64_t steps = Steps(cols), pairs = Pairs(tokens);
  for (int64_t t = token_begin; t < Pairs(token_end) * kPair; t += kTile) {
    for (int64_t step = 0; step < steps; ++step) {
      __m512 v[kParts][kTile] = {};  // row i: the 16 pairs of token t + i
      for (int i = 0; i < kTile && t + i < tokens; ++i) {
        const float* row = x + (t + i) * x_stride;
        const int64_t col = step * kStep;
        const Split split =
            SplitValues(LoadColumns<ElementF32>(row, col, cols), LoadColumns<ElementF32>(row, col + 16, cols));
        v[0][i] = _mm512_castsi512_ps(split.main);
        if constexpr (kParts == 2) v[1][i] = _mm512_castsi512_ps(split.rest);
      }
      std::byte* out = static_cast<std::byte*>(packed) + TileOffset(step, t / kPair, pairs, steps, kParts) +
                       t / kTile % 2 * kTileBytes;
      for (int part = 0; part < kParts; ++part, out += 2 * kTileBytes) {
        Vec::Transpose(v[part]);
        for (int i = 0; i < kTile; ++i) _mm512_store_ps(out + i * 64, v[part][i]);
      }
    }
  }
}

}  // namespace

namespace amx {

static_assert(kPackGrain == kPair);

size_t PackedTileBytes(int64_t tokens, int64_t cols, int parts) {
  // The stream is prefetched beyond its end, which is harmless.
  return static_cast<size_t>(Steps(cols) * Pairs(tokens) * 2 * parts * kTileBytes);
}

void PackTiles(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, int64_t token_begin, int64_t token_end,
               void* packed) {
  PackParts<1>(x, x_stride, tokens, cols, token_begin, token_end, packed);
}
void PackSplitTiles(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, int64_t token_begin,
                    int64_t token_end, void* packed) {
  PackParts<2>(x, x_stride, tokens, cols, token_begin, token_end, packed);
}

size_t TileScratchBytes() { return sizeof(TileScratch); }

void TileMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  TileScratch& s = *static_cast<TileScratch*>(scratch);
  if (op.w.dtype == DType::kF16) return Multiply<Float<ElementF16>>(op, row_begin, row_end, s);
  if (op.w.dtype == DType::kBF16) return Multiply<Float<ElementBF16>>(op, row_begin, row_end, s);
  VisitQuantized(op.w.dtype, [&]<class U>() { Multiply<Quantized<U>>(op, row_begin, row_end, s); });
}

}  // namespace amx
}  // namespace inkstone

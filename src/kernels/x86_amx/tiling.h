// How products and attention are cut for AMX, and the tile registers. One copy per file: internal linkage.
//
// A tile is 16 rows of 64 bytes. One TDPBF16PS multiplies a (16, 32) bf16 tile A with a (32, 16) tile B, stored as 16
// rows of 16 pairs, and adds to a (16, 16) f32 tile C, in 16 cycles (Intel, Optimization Reference Manual, chapter 20).
// Four C tiles in a square share two A and two B: one kilobyte is loaded per product, half of what the nearest cache
// delivers.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inkstone {
namespace {

inline constexpr int kTile = 16;               // rows of a tile; also columns of a C tile
inline constexpr int kTileBytes = 1024;        // 16 rows of 64 bytes
inline constexpr int kStep = 32;               // bf16 columns that one product sums over
inline constexpr int kPair = 2 * kTile;        // rows, or tokens, of a square of four C tiles
inline constexpr int kSquare = kPair * kPair;  // floats of a square

inline constexpr int64_t Pairs(int64_t n) { return (n + kPair - 1) / kPair; }

// The instructions. GCC's own intrinsics take the number as text, and do not say that they read memory.
template <int kTo>
inline void ZeroTile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTo));
}
template <int kTo>
inline void LoadTile(const void* rows, int64_t stride = 64) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(rows), "r"(stride), "i"(kTo) : "memory");
}
template <int kFrom>
inline void StoreTile(void* rows, int64_t stride = 64) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(rows), "r"(stride), "i"(kFrom) : "memory");
}
// C += A * B.
template <int kC, int kA, int kB>
inline void MultiplyBf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}
template <int kC, int kA, int kB>
inline void MultiplyInt8() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}

// C tiles are 0 - 3 (row-major in the square), A tiles 4 and 5, B tiles 6 and 7. A row of A, and a column of B, has
// `depth` bytes, of which four stand in a row of B. Released at the end of the scope, which returns the core's tile
// state to its initial form.
class TileRegisters {
 public:
  explicit TileRegisters(int depth = 64) {
    struct alignas(64) {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {kTile, kTile, kTile, kTile, kTile, kTile, kTile, kTile};
    } config;
    config.row_bytes[4] = config.row_bytes[5] = static_cast<uint16_t>(depth);
    config.rows[6] = config.rows[7] = static_cast<uint8_t>(depth / 4);
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~TileRegisters() { asm volatile("tilerelease"); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

inline void ZeroSquare() {
  ZeroTile<0>();
  ZeroTile<1>();
  ZeroTile<2>();
  ZeroTile<3>();
}
// Four tiles one after another.
inline void LoadSquare(const float* c) {
  LoadTile<0>(c);
  LoadTile<1>(c + 256);
  LoadTile<2>(c + 512);
  LoadTile<3>(c + 768);
}
inline void StoreSquare(void* c) {
  auto* tiles = static_cast<std::byte*>(c);
  StoreTile<0>(tiles);
  StoreTile<1>(tiles + kTileBytes);
  StoreTile<2>(tiles + 2 * kTileBytes);
  StoreTile<3>(tiles + 3 * kTileBytes);
}
// Adds one step: two A tiles one after another times two B tiles one after another.
inline void MultiplySquare(const std::byte* a, const std::byte* b) {
  LoadTile<4>(a);
  LoadTile<6>(b);
  MultiplyBf16<0, 4, 6>();
  LoadTile<7>(b + kTileBytes);
  MultiplyBf16<1, 4, 7>();
  LoadTile<5>(a + kTileBytes);
  MultiplyBf16<2, 5, 6>();
  MultiplyBf16<3, 5, 7>();
}

// Two vectors of f32 to 32 bf16, `low` first.
inline __m512i ToBf16(__m512 low, __m512 high) { return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)); }

}  // namespace
}  // namespace inkstone

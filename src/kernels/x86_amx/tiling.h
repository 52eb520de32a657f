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

// C tiles are 0 - 3 (row-major in the square), A tiles 4 and 5, B tiles 6 and 7, all full. Released at the end of the
// scope, which returns the core's tile state to its initial form.
class TileRegisters {
 public:
  TileRegisters() {
    struct alignas(64) {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {kTile, kTile, kTile, kTile, kTile, kTile, kTile, kTile};
    } config;
    _tile_loadconfig(&config);
  }
  ~TileRegisters() { _tile_release(); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

inline void ZeroSquare() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}
// Four tiles one after another.
inline void LoadSquare(const float* c) {
  _tile_loadd(0, c, 64);
  _tile_loadd(1, c + 256, 64);
  _tile_loadd(2, c + 512, 64);
  _tile_loadd(3, c + 768, 64);
}
inline void StoreSquare(float* c) {
  _tile_stored(0, c, 64);
  _tile_stored(1, c + 256, 64);
  _tile_stored(2, c + 512, 64);
  _tile_stored(3, c + 768, 64);
}
// Adds one step: two A tiles one after another times two B tiles one after another.
inline void MultiplySquare(const std::byte* a, const std::byte* b) {
  _tile_loadd(4, a, 64);
  _tile_loadd(6, b, 64);
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(7, b + kTileBytes, 64);
  _tile_dpbf16ps(1, 4, 7);
  _tile_loadd(5, a + kTileBytes, 64);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

// Two vectors of f32 to 32 bf16, `low` first.
inline __m512i ToBf16(__m512 low, __m512 high) { return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)); }

}  // namespace
}  // namespace inkstone

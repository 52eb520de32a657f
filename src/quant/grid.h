// What the quantized types have in common: a block is one or more groups of elements, and each group decodes by its own
// grid of evenly spaced (or code book) levels, x = scale * level + offset. Encoding fits the grids, finds the level
// nearest to each element, and packs.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "core/dtype.h"
#include "quant/blocks.h"

namespace inkstone {

inline constexpr int kMaxGroups = 16;  // in one block

enum class Levels : uint8_t {
  kSymmetric,  // integers around zero, no offset
  kBytes,      // the same; a tie goes away from zero, as in ggml's Q8_0
  kAffine,     // integers from zero, with an offset
  kCodeBook,   // kIQ4Values
};

// How a type's blocks are divided and which integers they store. Simple blocks are super-blocks of one group whose
// integer scale is 1 (and whose integer minimum is -1, as they store the offset itself).
struct BlockShape {
  Levels levels;
  int lo, hi;         // smallest and largest level
  int group, groups;  // elements of a group, groups of a block: group scale = d * integer, offset = -dmin * integer
  int scale_lo, scale_hi;  // range of the integer scales
  int min_lo, min_hi;      // range of the integer minima; 0, 0 without an offset

  int elements() const { return group * groups; }
};

// `type` is quantized.
BlockShape ShapeOf(DType type);

// A group's levels as they are stored: scale and offset are exactly those of DecodeRow.
struct Grid {
  float scale;
  float offset;
  float inverse;  // of the scale; 0 where it is 0
};

// What a block stores beside its levels.
struct FittedBlock {
  uint16_t d;     // binary16
  uint16_t dmin;  // binary16; the offset of Q4_1 and Q5_1
  int8_t scale[kMaxGroups];
  int8_t min[kMaxGroups];
  Grid grid[kMaxGroups];
};

// The arithmetic of finding a level, for a float and for GCC's vectors of floats alike, so that both give the same
// bits. Always inlined: a copy that the linker could choose for another CPU must not exist.
#define INK_LEVEL_FUNCTION [[gnu::always_inline]] inline

// To the nearest integer, |y| < 2^22; a tie goes to the even one.
template <typename F>
INK_LEVEL_FUNCTION F RoundToInteger(F y) {
  constexpr float kOnesPlace = 0x1.8p23f;  // floats of this size are integers
  return (y + kOnesPlace) - kOnesPlace;
}

template <typename F>
INK_LEVEL_FUNCTION F Clamp(F y, float lo, float hi) {
  const F low = F{} + lo;
  const F high = F{} + hi;
  const F above = y > low ? y : low;
  return above < high ? above : high;
}

// Above this y, code i of the code book is nearer than code i - 1.
constexpr float CodeThreshold(int i) { return 0.5f * static_cast<float>(kIQ4Values[i - 1] + kIQ4Values[i]); }

// The level nearest to y = (x - offset) * inverse.
template <Levels kLevels, typename F>
INK_LEVEL_FUNCTION F NearestLevel(F y, const BlockShape& shape) {
  if constexpr (kLevels == Levels::kCodeBook) {
    F level = F{} + static_cast<float>(kIQ4Values[0]);
#pragma GCC unroll 16
    for (int i = 1; i < 16; ++i) {
      const F step = F{} + static_cast<float>(kIQ4Values[i] - kIQ4Values[i - 1]);
      level += y > F{} + CodeThreshold(i) ? step : F{};
    }
    return level;
  } else {
    y = Clamp(y, static_cast<float>(shape.lo), static_cast<float>(shape.hi));
    F level = RoundToInteger(y);
    if constexpr (kLevels == Levels::kBytes) {
      const F zero = F{}, one = F{} + 1.0f;
      const F rest = y - level;  // exact
      level += ((rest == zero + 0.5f) & (y > zero)) ? one : zero;
      level -= ((rest == zero - 0.5f) & (y < zero)) ? one : zero;
    }
    return level;
  }
}

// The number by which that level is stored: from zero upwards.
template <Levels kLevels, typename F>
INK_LEVEL_FUNCTION F NearestCode(F y, const BlockShape& shape) {
  if constexpr (kLevels == Levels::kCodeBook) {
    F code = F{};
#pragma GCC unroll 16
    for (int i = 1; i < 16; ++i) code += y > F{} + CodeThreshold(i) ? F{} + 1.0f : F{};
    return code;
  } else {
    return NearestLevel<kLevels>(y, shape) - static_cast<float>(shape.lo);
  }
}

}  // namespace inkstone

// The arithmetic of encoding, compiled for several instruction sets; each gives the same bits.
#pragma once

#include <cstdint>
#include <span>

#include "core/cpu_info.h"
#include "quant/grid.h"

namespace inkstone {

inline constexpr int kFitGroups = 16;                     // fitted side by side
inline constexpr int kFitElements = kBlock * kFitGroups;  // at most, of them

struct FitTable {
  const char* target;
  // Fits `blocks` neighbouring blocks (their groups at most kFitGroups in all) of x to the least sum of
  // importance * (x - decoded)^2 that it finds, scales as they are stored. importance: as x, or null.
  void (*fit)(const BlockShape& shape, const float* x, const float* importance, int blocks, FittedBlock* out);
  // The codes nearest to the elements of one block.
  void (*codes)(const BlockShape& shape, const FittedBlock& fitted, const float* x, uint8_t* out);
  // x -= factor * row
  void (*subtract)(const float* row, float factor, int64_t count, float* x);
};

// The tables that a CPU can run, the best last.
std::span<const FitTable* const> AvailableFits(const CpuFeatures& features);

// The best for this machine.
const FitTable& BestFit();

// Fits `blocks` blocks of a quantized type with `table`; Q8_0 without importance as ggml's reference does: its error is
// so small that a search is not worth its time.
void FitBlocks(const FitTable& table, DType type, const float* x, const float* importance, int blocks,
               FittedBlock* out);

}  // namespace inkstone

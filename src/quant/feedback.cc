#include <algorithm>

#include "quant/codec.h"
#include "quant/fit.h"
#include "quant/pack.h"

namespace inkstone {
namespace {

// Rounds column after column from `begin` on, one block of the type.
template <Levels kLevels>
void RoundColumns(const FitTable& table, const BlockShape& shape, const FittedBlock& fitted, const FeedbackBlock& block,
                  int64_t begin, int64_t count, uint8_t* codes) {
  for (int64_t i = 0; i < shape.elements(); ++i) {
    const int64_t column = begin + i;
    const Grid& grid = fitted.grid[i / shape.group];
    const float x = block.x[column];
    const float y = (x - grid.offset) * grid.inverse;
    codes[i] = static_cast<uint8_t>(NearestCode<kLevels>(y, shape));
    const float decoded = grid.scale * NearestLevel<kLevels>(y, shape) + grid.offset;
    const float* upper = block.upper + column * block.stride;
    const float error = (x - decoded) / upper[column];
    block.error[column] = error;
    table.subtract(upper + column + 1, error, count - column - 1, block.x + column + 1);
  }
}

void RoundColumns(const FitTable& table, const BlockShape& shape, const FittedBlock& fitted, const FeedbackBlock& block,
                  int64_t begin, int64_t count, uint8_t* codes) {
  switch (shape.levels) {
    case Levels::kSymmetric:
      return RoundColumns<Levels::kSymmetric>(table, shape, fitted, block, begin, count, codes);
    case Levels::kBytes:
      return RoundColumns<Levels::kBytes>(table, shape, fitted, block, begin, count, codes);
    case Levels::kAffine:
      return RoundColumns<Levels::kAffine>(table, shape, fitted, block, begin, count, codes);
    case Levels::kCodeBook:
      return RoundColumns<Levels::kCodeBook>(table, shape, fitted, block, begin, count, codes);
  }
}

}  // namespace

void EncodeWithFeedback(DType type, const FeedbackBlock& block, int64_t count, std::byte* dst) {
  const FitTable& table = BestFit();
  const BlockShape shape = ShapeOf(type);
  uint8_t codes[kSuperBlock];
  for (int64_t begin = 0; begin < count; begin += shape.elements()) {
    FittedBlock fitted;
    FitBlocks(table, type, block.x + begin, block.importance == nullptr ? nullptr : block.importance + begin, 1,
              &fitted);
    RoundColumns(table, shape, fitted, block, begin, count, codes);
    PackBlock(type, fitted, codes, dst + RowBytes(type, begin));
  }
}

}  // namespace inkstone

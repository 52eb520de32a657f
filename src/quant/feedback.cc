#include <algorithm>
#include <array>

#include "quant/codec.h"
#include "quant/fit.h"
#include "quant/pack.h"

namespace inkstone {
namespace {

// Rounds column after column from `begin` on, one block of the type.
template <Levels kLevels>
void RoundColumns(const FitTable& table, const BlockShape& shape, const FittedBlock& fitted,
                  const FeedbackColumns& columns, const FeedbackRow& row, int64_t begin, uint8_t* codes) {
  for (int64_t i = 0; i < shape.elements(); ++i) {
    const int64_t column = begin + i;
    const Grid& grid = fitted.grid[i / shape.group];
    const float x = row.x[column];
    const float y = (x - grid.offset) * grid.inverse;
    codes[i] = static_cast<uint8_t>(NearestCode<kLevels>(y, shape));
    const float decoded = grid.scale * NearestLevel<kLevels>(y, shape) + grid.offset;
    const float* upper = columns.upper + column * columns.stride;
    const float error = (x - decoded) / upper[column];
    row.error[column] = error;
    table.subtract(upper + column + 1, error, columns.count - column - 1, row.x + column + 1);
  }
}

void RoundColumns(const FitTable& table, const BlockShape& shape, const FittedBlock& fitted,
                  const FeedbackColumns& columns, const FeedbackRow& row, int64_t begin, uint8_t* codes) {
  switch (shape.levels) {
    case Levels::kSymmetric:
      return RoundColumns<Levels::kSymmetric>(table, shape, fitted, columns, row, begin, codes);
    case Levels::kBytes:
      return RoundColumns<Levels::kBytes>(table, shape, fitted, columns, row, begin, codes);
    case Levels::kAffine:
      return RoundColumns<Levels::kAffine>(table, shape, fitted, columns, row, begin, codes);
    case Levels::kCodeBook:
      return RoundColumns<Levels::kCodeBook>(table, shape, fitted, columns, row, begin, codes);
  }
}

// One block of each of some rows, which fill the lanes of a fit together.
void EncodeBlocks(const FitTable& table, DType type, const FeedbackColumns& columns, std::span<const FeedbackRow> rows,
                  int64_t begin) {
  const BlockShape shape = ShapeOf(type);
  const size_t elements = static_cast<size_t>(shape.elements());
  std::array<float, kFitElements> x, importance;
  std::array<FittedBlock, kFitGroups> fitted;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::copy_n(rows[r].x + begin, elements, x.data() + r * elements);
    if (columns.importance == nullptr) continue;
    std::copy_n(columns.importance + begin, elements, importance.data() + r * elements);
  }
  FitBlocks(table, type, x.data(), columns.importance == nullptr ? nullptr : importance.data(),
            static_cast<int>(rows.size()), fitted.data());
  uint8_t codes[kSuperBlock];
  for (size_t r = 0; r < rows.size(); ++r) {
    RoundColumns(table, shape, fitted[r], columns, rows[r], begin, codes);
    PackBlock(type, fitted[r], codes, rows[r].dst + RowBytes(type, begin));
  }
}

}  // namespace

void EncodeWithFeedback(DType type, const FeedbackColumns& columns, std::span<const FeedbackRow> rows) {
  const FitTable& table = BestFit();
  const BlockShape shape = ShapeOf(type);
  const size_t together = static_cast<size_t>(kFitGroups / shape.groups);
  for (size_t first = 0; first < rows.size(); first += together) {
    const auto some = rows.subspan(first, std::min(together, rows.size() - first));
    for (int64_t begin = 0; begin < columns.count; begin += shape.elements()) {
      EncodeBlocks(table, type, columns, some, begin);
    }
  }
}

}  // namespace inkstone

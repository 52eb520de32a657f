#include "compress/feedback.h"

#include <algorithm>
#include <vector>

#include "quant/codec.h"

namespace inkstone {
namespace {

constexpr int64_t kRowsTogether = 32;

}  // namespace

void EncodeWithFeedback(const FeedbackMatrix& m, ThreadPool& threads, const DenseProduct& product) {
  const int64_t rows = m.x.rows;
  const int64_t row_bytes = RowBytes(m.type, m.x.cols);
  std::vector<float> upper(static_cast<size_t>(kGramTile * kGramTile));
  std::vector<float> errors(static_cast<size_t>(rows * kGramTile));
  std::vector<float> tail;
  for (const GramMatrix& gram : m.grams) {
    for (int64_t tile = 0; tile < gram.tiles(); ++tile) {
      const int64_t column = gram.first_column() + tile * kGramTile;
      const int64_t count = std::min(kGramTile, gram.columns() - tile * kGramTile);
      gram.DiagonalTile(tile, upper.data());
      const FeedbackColumns columns{m.importance == nullptr ? nullptr : m.importance + column, upper.data(), kGramTile,
                                    count};
      threads.ParallelFor(rows, kRowsTogether, [&](int64_t begin, int64_t end, int) {
        std::vector<FeedbackRow> some;
        for (int64_t r = begin; r < end; ++r) {
          some.push_back(
              {m.x.row(r) + column, errors.data() + r * kGramTile, m.out + r * row_bytes + RowBytes(m.type, column)});
        }
        EncodeWithFeedback(m.type, columns, some);
        for (const FeedbackRow& row : some) {
          for (int64_t c = 0; c < count; ++c) row.error[c] = -row.error[c];
        }
      });
      const int64_t left = gram.columns() - (tile + 1) * kGramTile;
      if (left <= 0) continue;
      tail.resize(static_cast<size_t>((gram.tiles() - tile - 1) * kGramTile * kGramTile));
      gram.Tail(tile, tail.data());
      const WeightView w{DType::kF32, left, kGramTile, reinterpret_cast<const std::byte*>(tail.data())};
      product.Multiply({errors.data(), rows, kGramTile, kGramTile}, w,
                       {m.x.row(0) + column + kGramTile, rows, left, m.x.stride}, true);
    }
  }
}

}  // namespace inkstone

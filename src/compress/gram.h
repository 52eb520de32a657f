// Second moments of a matrix's inputs, and the factor that error feedback needs of them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "core/status.h"
#include "model/runtime.h"

namespace inkstone {

// Products of dense f32 matrices on the kernels of a runtime. Results do not depend on the number of threads.
class DenseProduct {
 public:
  // For x of at most `max_rows` rows and `max_cols` columns. The runtime must outlive it.
  static Result<DenseProduct> Create(Runtime& runtime, int64_t max_rows, int64_t max_cols);
  // y = x wᵀ, or y += x wᵀ. x (n, k), w (m, k) of a float type, y (n, m).
  void Multiply(Rows x, const WeightView& w, Rows y, bool accumulate) const;

 private:
  explicit DenseProduct(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  std::unique_ptr<Backend> backend_;
};

// Columns that a factor treats together.
inline constexpr int64_t kGramTile = 256;
// Input channels beyond so many are split in equal ranges with a matrix each: memory and time grow with the square and
// the cube.
inline constexpr int64_t kMaxGramColumns = 5120;

// The sum of x xᵀ over input rows, of `columns` neighbouring channels. Padded to whole tiles and kept in reverse order
// of channels, as the factor is computed from the last one on. (padded, padded) f32.
class GramMatrix {
 public:
  GramMatrix(int64_t first_column, int64_t columns);
  int64_t first_column() const { return first_column_; }
  int64_t columns() const { return columns_; }

  // x: (rows, at least first_column + columns).
  void Add(Rows x, ThreadPool& threads, const DenseProduct& product);

  // Replaces the matrix by the upper factor U of its inverse, inverse = Uᵀ U, after adding `damping` times the mean of
  // its diagonal to it (more where that is not enough). kDataLoss where no damping helps, as with values that are not
  // finite.
  Status Factorize(double damping, const DenseProduct& product);

  // Of the factor, after Factorize. Rows and columns of tile `tile`, (kGramTile, kGramTile).
  void DiagonalTile(int64_t tile, float* out) const;
  // Rows of tile `tile`, columns after it, transposed: ((tiles() - tile - 1) * kGramTile, kGramTile).
  void Tail(int64_t tile, float* out) const;
  int64_t tiles() const { return padded_ / kGramTile; }

 private:
  float* at(int64_t row, int64_t col) { return values_.data() + row * padded_ + col; }
  const float* at(int64_t row, int64_t col) const { return values_.data() + row * padded_ + col; }
  Rows Block(int64_t row, int64_t col, int64_t rows, int64_t cols) { return {at(row, col), rows, cols, padded_}; }
  void SetDiagonal(double damping);
  bool Cholesky(const DenseProduct& product);
  void InvertFactor(const DenseProduct& product);

  int64_t first_column_;
  int64_t columns_;
  int64_t padded_;
  std::vector<float> values_;
  std::vector<float> diagonal_;  // of the sum
  std::vector<float> inverses_;  // (tiles, kGramTile, kGramTile): inverses of the Cholesky factor's diagonal tiles
};

// The ranges into which the channels of a matrix are split.
std::vector<GramMatrix> MakeGramMatrices(int64_t columns);

}  // namespace inkstone

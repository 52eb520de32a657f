#include "compress/gram.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "core/half.h"

namespace inkstone {
namespace {

constexpr int64_t kTile = kGramTile;

WeightView F32View(const float* data, int64_t rows, int64_t cols) {
  return {DType::kF32, rows, cols, reinterpret_cast<const std::byte*>(data)};
}

// out = the block of `rows` rows and `cols` columns at `in`, times `factor`, without gaps.
void CopyBlock(const float* in, int64_t stride, int64_t rows, int64_t cols, float factor, float* out) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) out[r * cols + c] = factor * in[r * stride + c];
  }
}

// The lower Cholesky factor of a tile in place; false where a pivot is not positive.
bool FactorTile(float* a, int64_t stride) {
  for (int64_t j = 0; j < kTile; ++j) {
    double pivot = static_cast<double>(a[j * stride + j]);
    for (int64_t k = 0; k < j; ++k)
      pivot -= static_cast<double>(a[j * stride + k]) * static_cast<double>(a[j * stride + k]);
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    const double root = std::sqrt(pivot);
    a[j * stride + j] = static_cast<float>(root);
    for (int64_t i = j + 1; i < kTile; ++i) {
      double sum = static_cast<double>(a[i * stride + j]);
      for (int64_t k = 0; k < j; ++k)
        sum -= static_cast<double>(a[i * stride + k]) * static_cast<double>(a[j * stride + k]);
      a[i * stride + j] = static_cast<float>(sum / root);
    }
  }
  return true;
}

// out = the inverse of the lower triangular tile `a`; zero above the diagonal.
void InvertTile(const float* a, int64_t stride, float* out) {
  std::fill_n(out, kTile * kTile, 0.0f);
  double row[kTile];
  for (int64_t i = 0; i < kTile; ++i) {
    // Row i of the inverse: (e_i - sum over k < i of a[i][k] * inverse row k) / a[i][i].
    std::fill_n(row, kTile, 0.0);
    for (int64_t k = 0; k < i; ++k) {
      const double factor = static_cast<double>(a[i * stride + k]);
      for (int64_t j = 0; j <= k; ++j) row[j] -= factor * static_cast<double>(out[k * kTile + j]);
    }
    row[i] = 1.0;
    const double pivot = static_cast<double>(a[i * stride + i]);
    for (int64_t j = 0; j <= i; ++j) out[i * kTile + j] = static_cast<float>(row[j] / pivot);
  }
}

void Transpose(const float* in, float factor, float* out) {
  for (int64_t r = 0; r < kTile; ++r) {
    for (int64_t c = 0; c < kTile; ++c) out[c * kTile + r] = factor * in[r * kTile + c];
  }
}

}  // namespace

Result<DenseProduct> DenseProduct::Create(Runtime& runtime, int64_t max_rows, int64_t max_cols) {
  BackendLimits limits;
  limits.max_rows = max_rows;
  limits.max_cols = max_cols;
  limits.max_sequences = 1;
  limits.head_dim = limits.page_tokens = static_cast<int>(kTile) / 8;  // no attention here
  std::unique_ptr<Backend> backend = runtime.NewBackend();
  INK_RETURN_IF_ERROR(backend->Reserve(limits));
  return DenseProduct(std::move(backend));
}

void DenseProduct::Multiply(Rows x, const WeightView& w, Rows y, bool accumulate) const {
  const MatMulTarget target{w, nullptr, y, accumulate};
  backend_->MatMul(x, StepShape{x.rows, 0}, {&target, 1});
}

GramMatrix::GramMatrix(int64_t first_column, int64_t columns)
    : first_column_(first_column),
      columns_(columns),
      padded_((columns + kTile - 1) / kTile * kTile),
      values_(static_cast<size_t>(padded_ * padded_)) {}

// Only the lower half is computed. Values are rounded to bf16 first, both factors alike: so the sum stays that of
// squares, which rounding one factor does not keep where few inputs repeat.
void GramMatrix::Add(Rows x, ThreadPool& threads, const DenseProduct& product) {
  std::vector<float> channels(static_cast<size_t>(padded_ * x.rows));
  std::vector<uint16_t> rounded(channels.size());
  threads.ParallelFor(columns_, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t base = (padded_ - 1 - c) * x.rows;
      for (int64_t r = 0; r < x.rows; ++r) {
        const float value = x.row(r)[first_column_ + c];
        rounded[static_cast<size_t>(base + r)] = F32ToBF16(value);
        channels[static_cast<size_t>(base + r)] = BF16ToF32(rounded[static_cast<size_t>(base + r)]);
      }
    }
  });
  for (int64_t row = 0; row < padded_; row += kTile) {
    const Rows part{channels.data() + row * x.rows, kTile, x.rows, x.rows};
    const WeightView w{DType::kBF16, row + kTile, x.rows, reinterpret_cast<const std::byte*>(rounded.data())};
    product.Multiply(part, w, Block(row, 0, kTile, row + kTile), true);
  }
}

void GramMatrix::SetDiagonal(double damping) {
  double mean = 0;
  for (const float d : diagonal_) mean += static_cast<double>(d);
  mean = std::max(mean / static_cast<double>(columns_), 1e-30);
  for (int64_t i = 0; i < padded_; ++i) {
    const bool pad = i < padded_ - columns_;
    *at(i, i) =
        pad ? 1.0f : static_cast<float>(static_cast<double>(diagonal_[static_cast<size_t>(i)]) + damping * mean);
  }
}

Status GramMatrix::Factorize(double damping, const DenseProduct& product) {
  diagonal_.resize(static_cast<size_t>(padded_));
  // To begin again from: the lower half in the upper one, and the tiles on the diagonal, which change as a whole.
  std::vector<float> kept(static_cast<size_t>(padded_ * kTile));
  for (int64_t i = 0; i < padded_; ++i) {
    diagonal_[static_cast<size_t>(i)] = *at(i, i);
    for (int64_t j = 0; j < i; ++j) *at(j, i) = *at(i, j);
  }
  for (int64_t k = 0; k < padded_; k += kTile)
    CopyBlock(at(k, k), padded_, kTile, kTile, 1.0f, kept.data() + k * kTile);
  constexpr double kMostDamping = 1e3;
  for (; damping < kMostDamping; damping *= 10) {
    SetDiagonal(damping);
    if (Cholesky(product)) {
      InvertFactor(product);
      return Status::Ok();
    }
    for (int64_t i = 0; i < padded_; ++i) {
      const int64_t tile = i / kTile * kTile;
      for (int64_t j = 0; j < tile; ++j) *at(i, j) = *at(j, i);
      std::copy_n(kept.data() + i * kTile, kTile, at(i, tile));
    }
  }
  return DataLoss("error feedback: the second moments of a matrix's inputs cannot be factorized");
}

// Blocked, right-looking; the lower half in place.
bool GramMatrix::Cholesky(const DenseProduct& product) {
  inverses_.resize(static_cast<size_t>(padded_ * kTile));
  std::vector<float> panel(static_cast<size_t>(padded_ * kTile)), factor(static_cast<size_t>(kTile * kTile));
  for (int64_t k = 0; k < padded_; k += kTile) {
    if (!FactorTile(at(k, k), padded_)) return false;
    float* inverse = inverses_.data() + k * kTile;
    InvertTile(at(k, k), padded_, inverse);
    const int64_t below = k + kTile, rows = padded_ - below;
    if (rows == 0) break;
    CopyBlock(at(below, k), padded_, rows, kTile, 1.0f, panel.data());
    product.Multiply({panel.data(), rows, kTile, kTile}, F32View(inverse, kTile, kTile), Block(below, k, rows, kTile),
                     false);
    CopyBlock(at(below, k), padded_, rows, kTile, -1.0f, panel.data());
    for (int64_t j = below; j < padded_; j += kTile) {
      CopyBlock(at(j, k), padded_, kTile, kTile, 1.0f, factor.data());
      const Rows x{panel.data() + (j - below) * kTile, padded_ - j, kTile, kTile};
      product.Multiply(x, F32View(factor.data(), kTile, kTile), Block(j, j, padded_ - j, kTile), true);
    }
  }
  return true;
}

// With L the factor and M its inverse: M_ij = -M_ii * sum over j <= k < i of L_ik M_kj. The upper half receives Mᵀ.
void GramMatrix::InvertFactor(const DenseProduct& product) {
  std::vector<float> row(static_cast<size_t>(padded_ * kTile));  // tiles j .. i-1 of row j of Mᵀ
  std::vector<float> sum(static_cast<size_t>(kTile * kTile)), flipped(sum.size());
  for (int64_t i = kTile; i < padded_; i += kTile) {
    for (int64_t j = 0; j < i; j += kTile) {
      const int64_t cols = i - j;
      for (int64_t r = 0; r < kTile; ++r) {
        for (int64_t c = 0; c < kTile; ++c)
          row[static_cast<size_t>(r * cols + c)] = inverses_[static_cast<size_t>((j + c) * kTile + r)];
        std::memcpy(row.data() + r * cols + kTile, at(j + r, j + kTile),
                    static_cast<size_t>(cols - kTile) * sizeof(float));
      }
      product.Multiply(Block(i, j, kTile, cols), F32View(row.data(), kTile, cols), {sum.data(), kTile, kTile, kTile},
                       false);
      Transpose(sum.data(), -1.0f, flipped.data());
      product.Multiply({flipped.data(), kTile, kTile, kTile}, F32View(inverses_.data() + i * kTile, kTile, kTile),
                       Block(j, i, kTile, kTile), false);
    }
  }
}

void GramMatrix::DiagonalTile(int64_t tile, float* out) const {
  const float* inverse = inverses_.data() + (tiles() - 1 - tile) * kTile * kTile;
  for (int64_t i = 0; i < kTile * kTile; ++i) out[i] = inverse[kTile * kTile - 1 - i];
}

void GramMatrix::Tail(int64_t tile, float* out) const {
  const int64_t last = padded_ - 1;
  for (int64_t q = (tile + 1) * kTile; q < padded_; ++q) {
    const float* row = at(last - q, 0);
    for (int64_t a = 0; a < kTile; ++a) *out++ = row[last - tile * kTile - a];
  }
}

std::vector<GramMatrix> MakeGramMatrices(int64_t columns) {
  const int64_t parts = (columns + kMaxGramColumns - 1) / kMaxGramColumns;
  const int64_t width = ((columns + parts - 1) / parts + kTile - 1) / kTile * kTile;
  std::vector<GramMatrix> matrices;
  for (int64_t first = 0; first < columns; first += width) {
    matrices.emplace_back(first, std::min(width, columns - first));
  }
  return matrices;
}

}  // namespace inkstone

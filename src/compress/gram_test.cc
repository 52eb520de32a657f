#include "compress/gram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace inkstone {
namespace {

class GramTest : public ::testing::TestWithParam<int64_t> {};

// (columns, columns) dense matrices in double, row-major.
using Dense = std::vector<double>;

std::vector<float> CorrelatedInputs(int64_t rows, int64_t cols) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r) {
    float last = 0;
    for (int64_t c = 0; c < cols; ++c) {
      last = 0.7f * last + normal(random);
      x[static_cast<size_t>(r * cols + c)] = last * (c % 17 == 3 ? 5.0f : 1.0f);
    }
  }
  return x;
}

// The factor U that tiles and tails describe.
Dense Assemble(const GramMatrix& gram) {
  const int64_t n = gram.tiles() * kGramTile;
  Dense u(static_cast<size_t>(n * n));
  std::vector<float> tile(static_cast<size_t>(kGramTile * kGramTile)), tail(static_cast<size_t>(n * kGramTile));
  for (int64_t t = 0; t < gram.tiles(); ++t) {
    gram.DiagonalTile(t, tile.data());
    gram.Tail(t, tail.data());
    for (int64_t a = 0; a < kGramTile; ++a) {
      double* row = u.data() + (t * kGramTile + a) * n;
      for (int64_t b = 0; b < kGramTile; ++b)
        row[t * kGramTile + b] = static_cast<double>(tile[static_cast<size_t>(a * kGramTile + b)]);
      for (int64_t q = (t + 1) * kGramTile; q < n; ++q) {
        row[q] = static_cast<double>(tail[static_cast<size_t>((q - (t + 1) * kGramTile) * kGramTile + a)]);
      }
    }
  }
  return u;
}

TEST_P(GramTest, FactorOfTheInverse) {
  const int64_t cols = GetParam(), rows = 300;
  auto runtime = Runtime::Create({2});
  auto product = DenseProduct::Create(**runtime, 1024, 1024);
  ASSERT_TRUE(product.ok());
  std::vector<float> x = CorrelatedInputs(rows, cols + 5);
  GramMatrix gram(5, cols);  // of the columns after the first five
  const Rows all{x.data(), rows, cols + 5, cols + 5};
  gram.Add(all.Slice(0, 100), (*runtime)->threads(), *product);
  gram.Add(all.Slice(100, rows - 100), (*runtime)->threads(), *product);
  ASSERT_TRUE(gram.Factorize(0.01, *product).ok());

  Dense h(static_cast<size_t>(cols * cols));
  double mean = 0;
  for (int64_t i = 0; i < cols; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r)
        sum += static_cast<double>(all.row(r)[5 + i]) * static_cast<double>(all.row(r)[5 + j]);
      h[static_cast<size_t>(i * cols + j)] = sum;
      if (i == j) mean += sum / static_cast<double>(cols);
    }
  }
  for (int64_t i = 0; i < cols; ++i) h[static_cast<size_t>(i * cols + i)] += 0.01 * mean;

  // U h Uᵀ must be the identity.
  const int64_t n = gram.tiles() * kGramTile;
  const Dense u = Assemble(gram);
  double worst = 0;
  for (int64_t i = 0; i < cols; i += 7) {
    std::vector<double> uh(static_cast<size_t>(cols));
    for (int64_t k = 0; k < cols; ++k) {
      const double factor = u[static_cast<size_t>(i * n + k)];
      if (k < i) {
        ASSERT_EQ(factor, 0.0) << i << " " << k;
      }
      for (int64_t j = 0; j < cols; ++j) uh[static_cast<size_t>(j)] += factor * h[static_cast<size_t>(k * cols + j)];
    }
    for (int64_t j = 0; j < cols; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < cols; ++k) sum += uh[static_cast<size_t>(k)] * u[static_cast<size_t>(j * n + k)];
      worst = std::max(worst, std::abs(sum - (i == j ? 1.0 : 0.0)));
    }
  }
  EXPECT_LT(worst, 0.02);
}

INSTANTIATE_TEST_SUITE_P(Widths, GramTest, ::testing::Values(64, 256, 320, 576));

TEST(Gram, ChannelsNeverSeenAreDamped) {
  auto runtime = Runtime::Create({1});
  auto product = DenseProduct::Create(**runtime, 512, 512);
  std::vector<float> x(64 * 4, 0.0f);
  for (int64_t r = 0; r < 4; ++r) x[static_cast<size_t>(r * 64)] = 1.0f;
  GramMatrix gram(0, 64);
  gram.Add({x.data(), 4, 64, 64}, (*runtime)->threads(), *product);
  ASSERT_TRUE(gram.Factorize(0.01, *product).ok());
  std::vector<float> tile(static_cast<size_t>(kGramTile * kGramTile));
  gram.DiagonalTile(0, tile.data());
  for (int64_t i = 0; i < 64; ++i) EXPECT_TRUE(std::isfinite(tile[static_cast<size_t>(i * kGramTile + i)]));
}

// Few inputs that come again and again, one of them far larger: the smallest eigenvalues are zero, and what little
// damping there is drowns in rounding, so that more of it is needed.
TEST(Gram, RepeatedInputsAreDampedUntilTheyFactorize) {
  constexpr int64_t kCols = 600, kRepeats = 500;
  auto runtime = Runtime::Create({2});
  auto product = DenseProduct::Create(**runtime, 1024, 512);
  const std::vector<float> x = CorrelatedInputs(3, kCols);
  std::vector<float> repeated;
  for (int64_t r = 0; r < kRepeats; ++r) {
    for (int64_t c = 0; c < kCols; ++c) {
      const float scale = r % 3 == 0 ? 100.0f : 1.0f;
      repeated.push_back(scale * x[static_cast<size_t>(r % 3 * kCols + c)]);
    }
  }
  GramMatrix gram(0, kCols);
  gram.Add({repeated.data(), kRepeats, kCols, kCols}, (*runtime)->threads(), *product);
  ASSERT_TRUE(gram.Factorize(1e-9, *product).ok());
  const Dense u = Assemble(gram);
  for (const double value : u) ASSERT_TRUE(std::isfinite(value));
}

TEST(Gram, ValuesThatAreNotFiniteAreAnError) {
  auto runtime = Runtime::Create({1});
  auto product = DenseProduct::Create(**runtime, 512, 512);
  std::vector<float> x(64, NAN);
  GramMatrix gram(0, 64);
  gram.Add({x.data(), 1, 64, 64}, (*runtime)->threads(), *product);
  EXPECT_EQ(gram.Factorize(0.01, *product).code(), StatusCode::kDataLoss);
}

TEST(Gram, WideMatricesAreSplitInWholeTiles) {
  const std::vector<GramMatrix> parts = MakeGramMatrices(9728);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].columns(), 4864);
  EXPECT_EQ(parts[1].first_column(), 4864);
  EXPECT_EQ(MakeGramMatrices(576).size(), 1u);
}

}  // namespace
}  // namespace inkstone

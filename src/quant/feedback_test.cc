#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/codec.h"
#include "quant/test_util.h"

namespace inkstone {
namespace {

constexpr size_t kColumns = 256;
using Matrix = std::vector<double>;  // (kColumns, kColumns)

double& At(Matrix& m, size_t row, size_t column) { return m[row * kColumns + column]; }

// Correlated inputs: each is a walk that forgets slowly. (samples, kColumns)
std::vector<float> Inputs(size_t samples) {
  std::vector<float> x = Gaussian(samples * kColumns, 21);
  for (size_t s = 0; s < samples; ++s) {
    for (size_t i = 1; i < kColumns; ++i) x[s * kColumns + i] += 0.8f * x[s * kColumns + i - 1];
  }
  return x;
}

// X^T X with a hundredth of its mean diagonal added to the diagonal.
Matrix Hessian(const std::vector<float>& x) {
  Matrix h(kColumns * kColumns, 0.0);
  for (size_t s = 0; s < x.size(); s += kColumns) {
    for (size_t i = 0; i < kColumns; ++i) {
      for (size_t j = 0; j < kColumns; ++j)
        At(h, i, j) += static_cast<double>(x[s + i]) * static_cast<double>(x[s + j]);
    }
  }
  double trace = 0;
  for (size_t i = 0; i < kColumns; ++i) trace += At(h, i, i);
  for (size_t i = 0; i < kColumns; ++i) At(h, i, i) += 0.01 * trace / static_cast<double>(kColumns);
  return h;
}

// Lower L with a = L L^T.
Matrix Cholesky(Matrix a) {
  Matrix l(kColumns * kColumns, 0.0);
  for (size_t j = 0; j < kColumns; ++j) {
    for (size_t i = j; i < kColumns; ++i) {
      double sum = At(a, i, j);
      for (size_t k = 0; k < j; ++k) sum -= At(l, i, k) * At(l, j, k);
      At(l, i, j) = i == j ? std::sqrt(sum) : sum / At(l, j, j);
    }
  }
  return l;
}

// The inverse of a = L L^T.
Matrix Inverse(Matrix l) {
  Matrix inverse(kColumns * kColumns, 0.0);
  std::vector<double> y(kColumns);
  for (size_t c = 0; c < kColumns; ++c) {
    for (size_t i = 0; i < kColumns; ++i) {
      y[i] = i == c ? 1.0 : 0.0;
      for (size_t k = 0; k < i; ++k) y[i] -= At(l, i, k) * y[k];
      y[i] /= At(l, i, i);
    }
    for (size_t i = kColumns; i-- > 0;) {
      for (size_t k = i + 1; k < kColumns; ++k) y[i] -= At(l, k, i) * At(inverse, k, c);
      At(inverse, i, c) = y[i] / At(l, i, i);
      y[i] = At(inverse, i, c);
    }
  }
  return inverse;
}

// Upper U with Hessian^-1 = U^T U.
std::vector<float> UpperFactor(const Matrix& hessian) {
  Matrix l = Cholesky(Inverse(Cholesky(hessian)));
  std::vector<float> upper(kColumns * kColumns);
  for (size_t i = 0; i < kColumns; ++i) {
    for (size_t j = 0; j < kColumns; ++j) upper[i * kColumns + j] = static_cast<float>(At(l, j, i));
  }
  return upper;
}

// Squares of (w - decoded) times each input, summed.
double OutputError(const std::vector<float>& w, const std::vector<float>& decoded, const std::vector<float>& inputs) {
  double sum = 0;
  for (size_t s = 0; s < inputs.size(); s += kColumns) {
    double dot = 0;
    for (size_t i = 0; i < kColumns; ++i)
      dot += (static_cast<double>(w[i]) - static_cast<double>(decoded[i])) * static_cast<double>(inputs[s + i]);
    sum += dot * dot;
  }
  return sum;
}

std::vector<float> Row(size_t row) { return Gaussian(kColumns, 100 + static_cast<uint32_t>(row), 0.05f); }

struct FeedbackResult {
  std::vector<std::byte> blocks;
  std::vector<float> x, error;
};

FeedbackResult WithFeedback(DType type, const std::vector<float>& row, const std::vector<float>& upper,
                            const std::vector<float>* importance = nullptr) {
  FeedbackResult r{std::vector<std::byte>(static_cast<size_t>(RowBytes(type, kColumns))), row,
                   std::vector<float>(kColumns)};
  const FeedbackRow rows[] = {{r.x.data(), r.error.data(), r.blocks.data()}};
  EncodeWithFeedback(type, {importance == nullptr ? nullptr : importance->data(), upper.data(), kColumns, kColumns},
                     rows);
  return r;
}

class Feedback : public testing::TestWithParam<DType> {};

INSTANTIATE_TEST_SUITE_P(Codec, Feedback, testing::ValuesIn(QuantizedTypes()),
                         [](const auto& test) { return NameOf(test.param); });

TEST_P(Feedback, LowersTheErrorOfTheOutputs) {
  static const std::vector<float> inputs = Inputs(512);
  static const std::vector<float> upper = UpperFactor(Hessian(inputs));
  double plain = 0, fed = 0;
  for (size_t row = 0; row < 8; ++row) {
    const std::vector<float> w = Row(row);
    plain += OutputError(w, Coded(GetParam(), w), inputs);
    fed += OutputError(w, Decoded(GetParam(), WithFeedback(GetParam(), w, upper).blocks), inputs);
  }
  EXPECT_LT(fed, 0.7 * plain);
}

TEST_P(Feedback, EqualsPlainEncodingWhereColumnsAreIndependent) {
  std::vector<float> upper(kColumns * kColumns, 0.0f), importance(kColumns);
  for (size_t i = 0; i < kColumns; ++i) {
    upper[i * (kColumns + 1)] = 0.5f + static_cast<float>(i % 5);
    importance[i] = 1.0f + static_cast<float>(i % 3);
  }
  for (size_t row = 0; row < 16; ++row) {
    const std::vector<float> w = Row(row);
    EXPECT_TRUE(WithFeedback(GetParam(), w, upper).blocks == Encoded(GetParam(), w));
    EXPECT_TRUE(WithFeedback(GetParam(), w, upper, &importance).blocks == Encoded(GetParam(), w, &importance));
  }
}

TEST_P(Feedback, RowsTogetherAreAsRowsAlone) {
  static const std::vector<float> upper = UpperFactor(Hessian(Inputs(512)));
  std::vector<float> importance(kColumns);
  for (size_t i = 0; i < kColumns; ++i) importance[i] = 1.0f + static_cast<float>(i % 7);
  std::vector<FeedbackResult> together;
  for (size_t row = 0; row < 19; ++row) {  // more than fill a fit, and not a multiple of it
    together.push_back({std::vector<std::byte>(static_cast<size_t>(RowBytes(GetParam(), kColumns))), Row(row),
                        std::vector<float>(kColumns)});
  }
  std::vector<FeedbackRow> rows;
  for (FeedbackResult& r : together) rows.push_back({r.x.data(), r.error.data(), r.blocks.data()});
  EncodeWithFeedback(GetParam(), {importance.data(), upper.data(), kColumns, kColumns}, rows);
  for (size_t row = 0; row < together.size(); ++row) {
    const FeedbackResult alone = WithFeedback(GetParam(), Row(row), upper, &importance);
    EXPECT_TRUE(together[row].blocks == alone.blocks) << row;
    EXPECT_EQ(together[row].x, alone.x) << row;
    EXPECT_EQ(together[row].error, alone.error) << row;
  }
}

TEST_P(Feedback, ReportsItsErrorsAndWhatItFedOn) {
  std::vector<float> upper(kColumns * kColumns, 0.0f);
  for (size_t i = 0; i < kColumns; ++i) {
    upper[i * (kColumns + 1)] = 2.0f;
    if (i + 1 < kColumns) upper[i * (kColumns + 1) + 1] = 0.5f;
  }
  const std::vector<float> w = Row(3);
  const FeedbackResult r = WithFeedback(GetParam(), w, upper);
  const std::vector<float> decoded = Decoded(GetParam(), r.blocks);
  for (size_t i = 0; i < kColumns; ++i) {
    EXPECT_EQ(r.error[i], (r.x[i] - decoded[i]) / 2.0f) << i;
    const float fed = i == 0 ? w[i] : w[i] - r.error[i - 1] * 0.5f;
    EXPECT_EQ(r.x[i], fed) << i;
  }
}

}  // namespace
}  // namespace inkstone

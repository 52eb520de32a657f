#include "compress/feedback.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "quant/codec.h"

namespace inkstone {
namespace {

constexpr int64_t kRows = 24, kCols = 576, kTokens = 700;

std::vector<float> Normal(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// (kTokens, kCols); neighbouring channels are alike, as those of models are.
std::vector<float> Inputs() {
  std::vector<float> x = Normal(static_cast<size_t>(kTokens * kCols), 1);
  for (size_t i = 1; i < x.size(); ++i) x[i] += 0.9f * x[i - 1];
  return x;
}

class FeedbackTest : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    runtime_ = std::move(Runtime::Create({2, ""})).value();
    product_ = std::make_unique<DenseProduct>(std::move(DenseProduct::Create(*runtime_, 1024, 1024)).value());
    inputs_ = Inputs();
    grams_ = MakeGramMatrices(kCols);
    for (GramMatrix& gram : grams_) {
      gram.Add({inputs_.data(), kTokens, kCols, kCols}, runtime_->threads(), *product_);
      ASSERT_TRUE(gram.Factorize(0.01, *product_).ok());
    }
    weights_ = Normal(static_cast<size_t>(kRows * kCols), 2);
  }

  std::vector<std::byte> Encode(int64_t first, int64_t rows) const {
    std::vector<float> x(weights_.begin() + first * kCols, weights_.begin() + (first + rows) * kCols);
    std::vector<std::byte> out(static_cast<size_t>(rows * RowBytes(GetParam(), kCols)));
    EncodeWithFeedback({GetParam(), {x.data(), rows, kCols, kCols}, nullptr, grams_, out.data()}, runtime_->threads(),
                       *product_);
    return out;
  }

  // Sum over rows and tokens of the squared error of the product with the inputs.
  double OutputError(const std::vector<std::byte>& encoded) const {
    std::vector<float> decoded(weights_.size());
    DecodeRow(GetParam(), encoded.data(), kRows * kCols, decoded.data());
    double sum = 0;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t t = 0; t < kTokens; ++t) {
        double error = 0;
        for (int64_t c = 0; c < kCols; ++c) {
          const size_t w = static_cast<size_t>(r * kCols + c);
          error += static_cast<double>(weights_[w] - decoded[w]) *
                   static_cast<double>(inputs_[static_cast<size_t>(t * kCols + c)]);
        }
        sum += error * error;
      }
    }
    return sum;
  }

  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<DenseProduct> product_;
  std::vector<GramMatrix> grams_;
  std::vector<float> inputs_, weights_;
};

TEST_P(FeedbackTest, OutputsComeNearerThanByRoundingEachWeight) {
  std::vector<std::byte> plain(static_cast<size_t>(kRows * RowBytes(GetParam(), kCols)));
  EncodeRow(GetParam(), weights_.data(), kRows * kCols, plain.data());
  EXPECT_LT(OutputError(Encode(0, kRows)), 0.6 * OutputError(plain));
}

TEST_P(FeedbackTest, RowsMayComeInParts) {
  std::vector<std::byte> parts = Encode(0, 7);
  const std::vector<std::byte> rest = Encode(7, kRows - 7);
  parts.insert(parts.end(), rest.begin(), rest.end());
  EXPECT_TRUE(parts == Encode(0, kRows));
}

INSTANTIATE_TEST_SUITE_P(Types, FeedbackTest, ::testing::Values(DType::kQ4_0, DType::kQ5_1, DType::kIQ4_NL),
                         [](const auto& test) { return std::string(Info(test.param).name); });

}  // namespace
}  // namespace inkstone

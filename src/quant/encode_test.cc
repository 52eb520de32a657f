#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "quant/codec.h"
#include "quant/fit.h"
#include "quant/test_util.h"

namespace inkstone {
namespace {

constexpr size_t kCount = 4096;

class Encoder : public testing::TestWithParam<DType> {
 protected:
  size_t block() const { return static_cast<size_t>(Info(GetParam()).block_elements); }
  // The error of `x` as encoded, relative to its squares.
  double RelativeError(const std::vector<float>& x) const {
    return SquaredError(x, Coded(GetParam(), x)) / SquaredError(x, std::vector<float>(x.size()));
  }
};

INSTANTIATE_TEST_SUITE_P(Codec, Encoder, testing::ValuesIn(QuantizedTypes()),
                         [](const auto& test) { return NameOf(test.param); });

// Errors of Gaussian weights relative to their squares, about 5 % above what the search reaches.
TEST_P(Encoder, KeepsTheErrorOfGaussianWeightsSmall) {
  const std::map<DType, double> bounds = {{DType::kQ2_K, 0.070},    {DType::kQ3_K, 0.0203},  {DType::kIQ4_XS, 0.0057},
                                          {DType::kIQ4_NL, 0.0057}, {DType::kQ4_0, 0.0067},  {DType::kQ4_1, 0.0049},
                                          {DType::kQ4_K, 0.0050},   {DType::kQ5_0, 0.0016},  {DType::kQ5_1, 0.0012},
                                          {DType::kQ5_K, 0.0012},   {DType::kQ6_K, 0.00028}, {DType::kQ8_0, 0.000029}};
  EXPECT_LT(RelativeError(Gaussian(kCount, 1, 0.02f)), bounds.at(GetParam()));
}

TEST_P(Encoder, SmallerBlocksOfTheRowGetTheSameBytes) {
  const std::vector<float> x = Gaussian(kCount, 2);
  const std::vector<std::byte> whole = Encoded(GetParam(), x);
  std::vector<std::byte> pieces;
  for (size_t at = 0; at < kCount; at += block()) {
    const auto begin = x.begin() + static_cast<int64_t>(at);
    const std::vector<std::byte> piece =
        Encoded(GetParam(), std::vector<float>(begin, begin + static_cast<int64_t>(block())));
    pieces.insert(pieces.end(), piece.begin(), piece.end());
  }
  EXPECT_TRUE(whole == pieces);
}

TEST_P(Encoder, UniformImportanceOfAnySizeIsAsGoodAsNone) {
  if (GetParam() == DType::kQ8_0) return;  // does not search without importance
  const std::vector<float> x = Gaussian(kCount, 3);
  for (float value : {1.0f, 0x1p-60f, 0x1p60f, std::numeric_limits<float>::max()}) {
    const std::vector<float> importance(kCount, value);
    EXPECT_TRUE(Encoded(GetParam(), x) == Encoded(GetParam(), x, &importance)) << value;
  }
}

TEST_P(Encoder, ImportanceMovesTheErrorAway) {
  const std::vector<float> x = Gaussian(kCount, 4);
  std::vector<float> importance(kCount), counts(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    importance[i] = i % 7 == 0 ? 100.0f : 1.0f;
    counts[i] = i % 7 == 0 ? 1.0f : 0.0f;
  }
  const std::vector<float> plain = Coded(GetParam(), x), weighted = Coded(GetParam(), x, &importance);
  EXPECT_LT(SquaredError(x, weighted, &counts), 0.8 * SquaredError(x, plain, &counts));
  EXPECT_LT(SquaredError(x, weighted, &importance), 0.9 * SquaredError(x, plain, &importance));
}

TEST_P(Encoder, GroupsWithoutImportanceAreFittedAllTheSame) {
  const std::vector<float> x = Gaussian(kCount, 5);
  std::vector<float> importance(kCount, 0.0f);
  EXPECT_LT(SquaredError(x, Coded(GetParam(), x, &importance)), 1.001 * SquaredError(x, Coded(GetParam(), x)));
  for (size_t i = 0; i < kCount; i += 64) std::fill_n(importance.begin() + static_cast<int64_t>(i), 32, 2.0f);
  EXPECT_LT(SquaredError(x, Coded(GetParam(), x, &importance)), 1.6 * SquaredError(x, Coded(GetParam(), x)));
}

TEST_P(Encoder, ZerosStayZero) {
  EXPECT_THAT(Coded(GetParam(), std::vector<float>(512, 0.0f)), testing::Each(0.0f));
  // One group of values among zeros.
  std::vector<float> x(256, 0.0f);
  const std::vector<float> some = Gaussian(32, 6);
  std::copy(some.begin(), some.end(), x.begin() + 64);
  const std::vector<float> decoded = Coded(GetParam(), x);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_TRUE(decoded[i] == 0.0f || (i >= 64 && i < 96)) << i;
  }
}

TEST_P(Encoder, EqualValuesAreNearlyExact) {
  for (float value : {1.0f, -1.0f, 0.037f, -3000.0f}) {
    const std::vector<float> x(block(), value);
    for (float decoded : Coded(GetParam(), x)) EXPECT_NEAR(decoded, value, 0.001f * std::fabs(value));
  }
}

TEST_P(Encoder, OneSignIsNoHarderThanTwo) {
  std::vector<float> x = Gaussian(kCount, 7);
  for (float& v : x) v = std::fabs(v);
  const double both = RelativeError(Gaussian(kCount, 7));
  EXPECT_LT(RelativeError(x), 1.01 * both);
  for (float& v : x) v = -v;
  EXPECT_LT(RelativeError(x), 1.01 * both);
}

TEST_P(Encoder, AnOutlierKeepsItsValue) {
  std::vector<float> x = Gaussian(block(), 8, 0.01f);
  x[block() / 3] = 1000.0f;
  x[block() / 2] = -1000.0f;
  const std::vector<float> decoded = Coded(GetParam(), x);
  EXPECT_EQ(FirstNonFinite(decoded.data(), static_cast<int64_t>(block())), -1);
  EXPECT_LT(SquaredError(x, decoded), 0.05 * 2e6);
}

TEST_P(Encoder, ValuesTooSmallForAScaleBecomeZeroOrStaySmall) {
  std::vector<float> x(block(), std::numeric_limits<float>::denorm_min());
  x[3] = -x[3];
  EXPECT_THAT(Coded(GetParam(), x), testing::Each(0.0f));
  // Around the smallest binary16: never further off than zero is.
  for (float size : {1e-9f, 1e-8f, 1e-7f, 1e-6f, 1e-5f}) {
    x = Gaussian(block(), 9, size);
    EXPECT_LE(RelativeError(x), 1.0) << size;
  }
  EXPECT_LT(RelativeError(Gaussian(block(), 9, 1e-4f)), 0.15);
}

TEST_P(Encoder, ValuesUpToTheLimitDecodeToFiniteOnes) {
  const float limit = EncodeLimit(GetParam());
  std::vector<float> x(block(), 0.0f);
  x[0] = limit;
  x[1] = -limit;
  for (int k = 0; k < 3; ++k) {
    const std::vector<float> decoded = Coded(GetParam(), x);
    EXPECT_EQ(FirstNonFinite(decoded.data(), static_cast<int64_t>(block())), -1);
    for (size_t i = 0; i < block(); ++i) EXPECT_NEAR(decoded[i] / limit, x[i] / limit, 0.4f) << i;
    std::fill(x.begin(), x.end(), k == 0 ? limit : -limit);
  }
}

TEST(Encoders, MoreBitsAreBetter) {
  const std::vector<float> x = Gaussian(kCount, 10);
  const auto falling = [&](std::initializer_list<DType> types) {
    double last = std::numeric_limits<double>::max();
    for (DType type : types) {
      const double error = SquaredError(x, Coded(type, x));
      EXPECT_LT(error, last) << NameOf(type);
      last = error;
    }
  };
  falling({DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kQ8_0});
  falling({DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0});
  falling({DType::kQ4_0, DType::kIQ4_NL});
  falling({DType::kQ3_K, DType::kIQ4_XS, DType::kQ5_K});
}

TEST(Encoders, LimitsOfTheFloatTypesAreTheirLargestValues) {
  for (DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    const std::vector<float> x = {EncodeLimit(type), -EncodeLimit(type)};
    EXPECT_EQ(Coded(type, x), x) << NameOf(type);
  }
}

// Blocks of every kind that the other tests use.
std::vector<float> Mixture() {
  std::vector<float> x = Gaussian(6 * 512, 11);
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t kind = i / 512;
    if (kind == 1) x[i] = x[i] * x[i] * x[i];
    if (kind == 2) x[i] = std::fabs(x[i]) * 1e-6f;
    if (kind == 3) x[i] = i % 96 < 48 ? 0.0f : x[i];
    if (kind == 4) x[i] = i % 37 == 0 ? 1e4f * x[i] : -std::fabs(x[i]);
    if (kind == 5) x[i] = 0.25f;
  }
  return x;
}

TEST_P(Encoder, EveryInstructionSetGivesTheSameBits) {
  const auto tables = AvailableFits(DetectCpuFeatures());
  const BlockShape shape = ShapeOf(GetParam());
  const std::vector<float> x = Mixture();
  std::vector<float> importance = Gaussian(x.size(), 12);
  for (float& v : importance) v *= v;
  const int blocks = kFitGroups / shape.groups;
  for (size_t at = 0; at < x.size(); at += static_cast<size_t>(blocks * shape.elements())) {
    for (const float* w : {static_cast<const float*>(nullptr), static_cast<const float*>(importance.data() + at)}) {
      const auto result = [&](const FitTable& table) {
        std::vector<FittedBlock> fitted(static_cast<size_t>(blocks), FittedBlock{});
        FitBlocks(table, GetParam(), x.data() + at, w, blocks, fitted.data());
        const size_t header = fitted.size() * sizeof(FittedBlock);
        std::vector<uint8_t> bytes(header + static_cast<size_t>(blocks * shape.elements()));
        std::memcpy(bytes.data(), fitted.data(), header);
        for (int b = 0; b < blocks; ++b) {
          const int offset = b * shape.elements();
          table.codes(shape, fitted[static_cast<size_t>(b)], x.data() + at + offset, bytes.data() + header + offset);
        }
        return bytes;
      };
      for (const FitTable* table : tables) EXPECT_TRUE(result(*table) == result(*tables[0])) << table->target;
    }
  }
}

}  // namespace
}  // namespace inkstone

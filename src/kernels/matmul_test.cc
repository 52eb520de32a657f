#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>

#include "core/half.h"
#include "kernels/kernels.h"
#include "kernels/q15.h"
#include "kernels/steps.h"
#include "kernels/test_tools.h"
#include "quant/codec.h"

namespace inkstone {
namespace {

using kernel_test::Bits;
using kernel_test::Buffer;
using kernel_test::Multiply;
using kernel_test::Product;
using kernel_test::RandomFloats;
using kernel_test::Weights;
using ::testing::ElementsAreArray;

// The sum of term(weight, activation) of each output, (tokens, rows).
template <typename Term>
std::vector<double> SumTerms(const WeightView& w, const std::vector<float>& x, int64_t tokens, const Term& term) {
  std::vector<double> sums;
  std::vector<float> row(static_cast<size_t>(w.cols));
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t r = 0; r < w.rows; ++r) {
      DecodeRow(w.dtype, w.row(r), w.cols, row.data());
      sums.push_back(std::inner_product(row.begin(), row.end(), x.begin() + t * w.cols, 0.0, std::plus<>(), term));
    }
  }
  return sums;
}

// The sum of |w| |x| of each output, which rounding errors are relative to.
std::vector<double> Magnitudes(const WeightView& w, const std::vector<float>& x, int64_t tokens) {
  return SumTerms(w, x, tokens, [](float a, float b) { return std::fabs(static_cast<double>(a) * b); });
}

// Products of weights and activations that were rounded to bf16 first, in double.
std::vector<float> RoundedProduct(const WeightView& w, const std::vector<float>& x, int64_t tokens) {
  const auto rounded = [](float v) { return static_cast<double>(BF16ToF32(F32ToBF16(v))); };
  const auto sums = SumTerms(w, x, tokens, [&](float a, float b) { return rounded(a) * rounded(b); });
  return {sums.begin(), sums.end()};
}

void ExpectNear(const std::vector<float>& got, const std::vector<float>& want, const std::vector<double>& magnitude,
                double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], tolerance * magnitude[i] + 1e-30) << "output " << i;
  }
}

const KernelTable& Reference() { return *AvailableKernels(DetectCpuFeatures()).front(); }

// What q15.h says becomes of the activations.
std::vector<float> RoundToQ15(std::vector<float> x, int64_t cols) {
  for (auto first = x.begin(); first != x.end(); first += cols) {
    float amax = 0;
    std::for_each(first, first + cols, [&](float v) { amax = std::max(amax, std::fabs(v)); });
    const bool zero = amax < kQ15Smallest;
    const float scale = zero ? 0.0f : amax / kQ15Max, inverse = zero ? 0.0f : kQ15Max / amax;
    std::transform(first, first + cols, first, [&](float v) { return scale * std::nearbyint(v * inverse); });
  }
  return x;
}

// The sum of magnitudes as kernels/steps.h has it.
float SumOfMagnitudes(std::span<const float> x) {
  std::array<float, 8> lane{};
  for (size_t i = 0; i < x.size(); ++i) lane[i % 8] += std::fabs(x[i]);
  for (size_t n = 4; n > 0; n /= 2) {
    for (size_t i = 0; i < n; ++i) lane[i] += lane[i + n];
  }
  return lane[0];
}
// What kernels/steps.h says becomes of a token's values.
void RoundTokenToSteps(std::span<float> x, float limit) {
  float amax = 0, largest_sum = 0;
  double squares = 0;
  for (size_t i = 0; i < x.size(); i += 256) {
    const auto piece = x.subspan(i, std::min<size_t>(256, x.size() - i));
    for (const float v : piece) {
      squares += static_cast<double>(v) * v;
      amax = std::max(amax, std::fabs(v));
    }
    largest_sum = std::max(largest_sum, SumOfMagnitudes(piece));
  }
  const bool zero = amax < kQ15Smallest;
  const float scale = zero ? 1.0f : std::max(amax / kQ15Max, largest_sum / kStepsMaxSum);
  const float inverse = zero ? 0.0f : 1.0f / scale;
  const double top = limit * std::sqrt(squares / static_cast<double>(x.size())) / scale;
  std::vector<float> v;
  std::transform(x.begin(), x.end(), std::back_inserter(v), [&](float f) { return std::nearbyint(f * inverse); });
  const auto largest = [&](size_t begin, size_t count) {
    float most = 0;
    for (size_t i = begin; i < begin + count; ++i) most = std::max(most, std::fabs(v[i]));
    return most;
  };
  for (size_t i = 0; i < x.size(); ++i) {
    const float step = std::max(1.0f, std::ceil(largest(i / 16 * 16, 16) / 127));
    const bool exact = largest(i / 32 * 32, 32) > top;
    x[i] = scale * (exact ? v[i] : step * std::nearbyint(v[i] * (1.0f / step)));
  }
}
std::vector<float> RoundToSteps(std::vector<float> x, DType type, int64_t cols) {
  const float limit = type == DType::kQ8_0 ? 0 : type == DType::kQ6_K ? kStepsFine : kStepsCoarse;
  for (size_t t = 0; t < x.size(); t += static_cast<size_t>(cols)) {
    RoundTokenToSteps(std::span(x).subspan(t, static_cast<size_t>(cols)), limit);
  }
  return x;
}

std::vector<float> ReferenceProduct(const WeightView& w, ActivationFormat format, const std::vector<float>& x,
                                    int64_t tokens) {
  const std::vector<float> rounded = format == ActivationFormat::kQ15     ? RoundToQ15(x, w.cols)
                                     : format == ActivationFormat::kSteps ? RoundToSteps(x, w.dtype, w.cols)
                                                                          : x;
  return Multiply(Reference(), w, {.tokens = tokens, .x = rounded.data()});
}

using Case = std::tuple<const KernelTable*, DType, Phase>;

std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  const auto& [table, type, phase] = info.param;
  return std::string(table->target) + "_" + std::string(Info(type).name) + "_" + kernel_test::PhaseName(phase);
}

std::vector<DType> Types() {
  std::vector<DType> types;
  for (const DTypeInfo& info : AllDTypes()) types.push_back(info.type);
  return types;
}

std::vector<const KernelTable*> Tables() {
  const auto tables = AvailableKernels(DetectCpuFeatures());
  return {tables.begin(), tables.end()};
}

class MatMulTest : public ::testing::TestWithParam<Case> {
 protected:
  const KernelTable& table() const { return *std::get<0>(GetParam()); }
  DType type() const { return std::get<1>(GetParam()); }
  Phase phase() const { return std::get<2>(GetParam()); }
  bool quantized() const { return !IsFloat(type()); }

  // Column counts that end inside and at the borders of every internal piece.
  bool bf16() const { return table().activation_format(type(), phase()) == ActivationFormat::kBF16; }
  // Against plain arithmetic on what the table's format makes of the activations. `tolerance` is a share of each
  // output's magnitude; with bf16 weights are rounded too, now and then the other way in the last bit.
  void ExpectRight(const WeightView& w, const std::vector<float>& x, int64_t tokens, double tolerance) const {
    const auto got = Multiply(table(), w, {.phase = phase(), .tokens = tokens, .x = x.data()});
    const ActivationFormat format = table().activation_format(type(), phase());
    const auto want =
        format == ActivationFormat::kBF16 ? RoundedProduct(w, x, tokens) : ReferenceProduct(w, format, x, tokens);
    // A split value keeps 16 bits, and the product of two small parts is left out: 2^-16 each.
    const double least = bf16() ? 4e-5 : format == ActivationFormat::kSplit ? 3.1e-5 : 0;
    ExpectNear(got, want, Magnitudes(w, x, tokens), std::max(tolerance, least));
  }
  std::vector<int64_t> Columns() const {
    if (Info(type()).block_elements == 256) return {256, 768};
    if (quantized()) return {32, 224, 256, 576};
    return {1, 7, 64, 131, 320};
  }
};

TEST_P(MatMulTest, AgreesWithReference) {
  unsigned seed = 1;
  for (const int64_t cols : Columns()) {
    for (const auto& [rows, tokens] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 2}, {17, 5}, {33, 13}, {70, 1}, {5, 33}}) {
      const Weights w(type(), rows, cols, Bits::kRandom, ++seed);
      const auto x = RandomFloats(tokens * cols, ++seed);
      ExpectRight(w.view, x, tokens, 4e-6);
    }
  }
}

TEST_P(MatMulTest, AgreesWithReferenceOnExtremes) {
  const int64_t cols = 512;
  for (const Bits bits : {Bits::kZero, Bits::kOnes, Bits::kRandom}) {
    const Weights w(type(), 9, cols, bits, 5);
    auto x = RandomFloats(4 * cols, 6);
    for (int64_t i = 0; i < cols; ++i) {
      x[static_cast<size_t>(i)] = 0.0f;                                // token 0: nothing
      x[static_cast<size_t>(cols + i)] *= 1e-39f;                      // token 1: subnormal
      x[static_cast<size_t>(2 * cols + i)] = i % 2 == 0 ? 3.f : -3.f;  // token 2: every value at the limit
    }
    x[static_cast<size_t>(3 * cols + 40)] = 1e4f;  // token 3: one outlier
    ExpectRight(w.view, x, 4, 2e-5);
  }
}

// One channel a hundred times the others must not drown them, as it would if a group of eight-bit values shared a
// scale.
TEST_P(MatMulTest, OutlierChannelLeavesTheOthersTheirPrecision) {
  const int64_t rows = 9, cols = 256, tokens = 5;
  const Weights w(type(), rows, cols, Bits::kRandom, 61);
  auto x = RandomFloats(tokens * cols, 62);
  for (int64_t t = 0; t < tokens; ++t) x[static_cast<size_t>(t * cols + 40)] = t % 2 == 0 ? 100.0f : -100.0f;
  const auto got = Multiply(table(), w.view, {.phase = phase(), .tokens = tokens, .x = x.data()});
  const auto want = Multiply(Reference(), w.view, {.tokens = tokens, .x = x.data()});
  // At most half a step for each weight; bf16 rounds values relative to themselves.
  const auto weights = Magnitudes(w.view, std::vector<float>(x.size(), 1.0f), tokens),
             all = Magnitudes(w.view, x, tokens);
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 0.5 * 100 / kQ15Max * weights[i] + (bf16() ? 8e-3 : 1e-5) * all[i]) << i;
  }
}

TEST_P(MatMulTest, BiasAndAccumulate) {
  const int64_t rows = 19, cols = 256, tokens = 3;
  const Weights w(type(), rows, cols, Bits::kRandom, 11);
  const auto x = RandomFloats(tokens * cols, 12);
  const auto bias = RandomFloats(rows, 13);
  const auto base = RandomFloats(tokens * rows, 14);
  const auto plain = Multiply(table(), w.view, {.phase = phase(), .tokens = tokens, .x = x.data()});
  const auto both =
      Multiply(table(), w.view,
               {.phase = phase(), .tokens = tokens, .x = x.data(), .bias = bias.data(), .accumulate_on = &base});
  ASSERT_EQ(both.size(), plain.size());
  for (size_t i = 0; i < both.size(); ++i) {
    const double want = static_cast<double>(plain[i]) + bias[i % rows] + base[i];
    ASSERT_NEAR(both[i], want, 1e-5 * (std::fabs(want) + 10)) << i;
  }
}

// Each output is the same bits whatever is computed beside it.
TEST_P(MatMulTest, BatchInvariant) {
  const int64_t rows = 70, cols = quantized() ? 1280 : 333, tokens = 33;
  const Weights w(type(), rows, cols, Bits::kRandom, 21);
  const auto x = RandomFloats(tokens * cols, 22);
  const auto together = Multiply(table(), w.view, {.phase = phase(), .tokens = tokens, .x = x.data()});
  const int64_t grain = table().row_grain(type(), phase());
  EXPECT_THAT(Multiply(table(), w.view, {.phase = phase(), .tokens = tokens, .x = x.data(), .split = grain}),
              ElementsAreArray(together));
  int64_t first = 0;
  for (const int64_t count : {1, 2, 3, 5, 16, 6}) {
    const auto part = Multiply(table(), w.view, {.phase = phase(), .tokens = count, .x = x.data() + first * cols});
    for (int64_t i = 0; i < count * rows; ++i) {
      ASSERT_EQ(part[static_cast<size_t>(i)], together[static_cast<size_t>(first * rows + i)])
          << count << " tokens from " << first;
    }
    first += count;
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, MatMulTest,
                         ::testing::Combine(::testing::ValuesIn(Tables()), ::testing::ValuesIn(Types()),
                                            ::testing::Values(Phase::kPrompt, Phase::kDecode)),
                         CaseName);

// -128 never comes from an encoder but may stand in a file.
TEST(Q8MatMul, SmallestByteIsExact) {
  const int64_t cols = 288;
  Weights w(DType::kQ8_0, 3, cols, Bits::kZero, 1);
  for (int64_t b = 0; b < 3 * cols / 32; ++b) {
    std::byte* block = w.bytes.data() + 2 + b * 34;
    const uint16_t one = F32ToF16(1.0f);
    std::memcpy(block, &one, 2);
    std::memset(block + 2, 0x80, 32);
  }
  const std::vector<float> x(static_cast<size_t>(2 * cols), 127.0f);
  for (const KernelTable* table : Tables()) {
    for (const Phase phase : {Phase::kPrompt, Phase::kDecode}) {
      EXPECT_THAT(Multiply(*table, w.view, {.phase = phase, .tokens = 2, .x = x.data()}),
                  ::testing::Each(-128.0f * 127.0f * static_cast<float>(cols)));
    }
  }
}

// A prompt longer than the chunk in which vectorized targets keep their sums.
TEST(LongPrompt, LastTokensAreTheSameAlone) {
  const int64_t rows = 2, cols = 256, tokens = 1030;
  const auto x = RandomFloats(tokens * cols, 32);
  for (const KernelTable* table : Tables()) {
    for (const DType type : {DType::kF16, DType::kQ4_K, DType::kQ6_K}) {
      const Weights w(type, rows, cols, Bits::kRandom, 31);
      const auto together = Multiply(*table, w.view, {.phase = Phase::kPrompt, .tokens = tokens, .x = x.data()});
      const auto last =
          Multiply(*table, w.view, {.phase = Phase::kPrompt, .tokens = 7, .x = x.data() + (tokens - 7) * cols});
      EXPECT_THAT(std::vector<float>(together.end() - 7 * rows, together.end()), ElementsAreArray(last));
    }
  }
}

TEST(ReferenceMatMul, IsPlainArithmetic) {
  for (const DType type : Types()) {
    const int64_t rows = 4, cols = 512, tokens = 2;
    const Weights w(type, rows, cols, Bits::kRandom, 41);
    const auto x = RandomFloats(tokens * cols, 42);
    const auto y = Multiply(Reference(), w.view, {.tokens = tokens, .x = x.data()});
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; ++r) {
      DecodeRow(type, w.view.row(r), cols, row.data());
      for (int64_t t = 0; t < tokens; ++t) {
        const double exact = std::inner_product(row.begin(), row.end(), x.begin() + t * cols, 0.0);
        EXPECT_NEAR(y[static_cast<size_t>(t * rows + r)], exact, 1e-6 * (std::fabs(exact) + 1)) << Info(type).name;
      }
    }
  }
}

TEST(DecodeRowKernel, SameBitsAsCodec) {
  for (const KernelTable* table : Tables()) {
    for (const DType type : Types()) {
      for (const int64_t cols : std::vector<int64_t>{256, 1280, 288, 37}) {
        if (cols % Info(type).block_elements != 0) continue;
        const Weights w(type, 1, cols, Bits::kRandom, 51);
        std::vector<float> got(static_cast<size_t>(cols)), want(got);
        table->decode_row(type, w.view.data, cols, got.data());
        DecodeRow(type, w.view.data, cols, want.data());
        EXPECT_THAT(got, ElementsAreArray(want)) << table->target << " " << Info(type).name;
      }
    }
  }
}

TEST(SelectKernels, NamesAndErrors) {
  const CpuFeatures none;
  EXPECT_EQ((*SelectKernels("", none))->target, "ref");
  EXPECT_EQ((*SelectKernels("", DetectCpuFeatures())), Tables().back());
  for (const KernelTable* table : Tables()) {
    EXPECT_EQ(*SelectKernels(table->target, DetectCpuFeatures()), table);
  }
  const auto missing = SelectKernels("mmx", none);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(missing.status().message(), ::testing::HasSubstr("ref"));
  EXPECT_FALSE(SelectKernels("avx2", none).ok());
}

}  // namespace
}  // namespace inkstone

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "core/half.h"
#include "core/kv_vector.h"
#include "kernels/kernels.h"
#include "kernels/test_tools.h"

namespace inkstone {
namespace {

using kernel_test::Buffer;
using kernel_test::RandomFloats;

class RowWiseTest : public ::testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
};

TEST_P(RowWiseTest, RmsNorm) {
  for (const int64_t cols : {1, 5, 16, 80, 127, 2560}) {
    const int64_t rows = 3, stride = cols + 2;
    auto x = RandomFloats(rows * stride, 1);
    const auto weight = RandomFloats(cols, 2);
    std::vector<float> out(static_cast<size_t>(rows * stride), 7.0f);
    table().rms_norm(x.data(), stride, weight.data(), 1e-6f, rows, cols, out.data(), stride);
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < cols; ++i) sum += std::pow(x[static_cast<size_t>(r * stride + i)], 2.0);
      const double inverse = 1 / std::sqrt(sum / static_cast<double>(cols) + 1e-6);
      for (int64_t i = 0; i < cols; ++i) {
        const double want = x[static_cast<size_t>(r * stride + i)] * inverse * weight[static_cast<size_t>(i)];
        ASSERT_NEAR(out[static_cast<size_t>(r * stride + i)], want, 1e-6 * (1 + std::fabs(want)));
      }
      ASSERT_EQ(out[static_cast<size_t>(r * stride + cols)], 7.0f);
    }
    table().rms_norm(x.data(), stride, weight.data(), 1e-6f, rows, cols, x.data(), stride);  // in place
    for (int64_t i = 0; i < cols; ++i) ASSERT_EQ(x[static_cast<size_t>(i)], out[static_cast<size_t>(i)]);
  }
}

TEST_P(RowWiseTest, Rope) {
  for (const int head_dim : {2, 34, 64, 80, 128}) {
    const int half = head_dim / 2, heads = 3;
    std::vector<float> cos, sin;
    for (int i = 0; i < half; ++i) {
      cos.push_back(static_cast<float>(std::cos(0.3 * i + 1)));
      sin.push_back(static_cast<float>(std::sin(0.3 * i + 1)));
    }
    for (const bool interleaved : {false, true}) {
      const auto before = RandomFloats(heads * head_dim, 3);
      auto after = before;
      table().rope(after.data(), heads, head_dim, cos.data(), sin.data(), interleaved);
      for (int h = 0; h < heads; ++h) {
        for (int i = 0; i < half; ++i) {
          const auto a = static_cast<size_t>(h * head_dim + (interleaved ? 2 * i : i));
          const size_t b = a + static_cast<size_t>(interleaved ? 1 : half);
          const double angle = 0.3 * i + 1;
          ASSERT_NEAR(after[a], before[a] * std::cos(angle) - before[b] * std::sin(angle), 2e-6);
          ASSERT_NEAR(after[b], before[b] * std::cos(angle) + before[a] * std::sin(angle), 2e-6);
        }
      }
    }
  }
}

TEST_P(RowWiseTest, SiluMul) {
  for (const int64_t count : {1, 7, 16, 100, 9728}) {
    auto gate = RandomFloats(count, 4, 8.0f);
    gate[0] = -200.0f;
    gate.back() = 120.0f;
    const auto up = RandomFloats(count, 5);
    std::vector<float> out(gate.size());
    table().silu_mul(gate.data(), up.data(), count, out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      const double g = gate[i];
      const double want = g / (1 + std::exp(-g)) * up[i];
      ASSERT_NEAR(out[i], want, 1e-6 * std::fabs(want) + 1e-30) << g;
    }
    table().silu_mul(gate.data(), up.data(), count, gate.data());  // in place
    EXPECT_EQ(gate, out);
  }
}

TEST_P(RowWiseTest, Store) {
  for (const int64_t count : {1, 8, 31, 128}) {
    auto x = RandomFloats(count, 6, 100.0f);
    x[0] = 1e-7f;
    x.back() = 1e6f;  // infinity in binary16
    const Buffer out(static_cast<size_t>(count) * 4);
    table().store(x.data(), DType::kF16, count, out.get());
    for (int64_t i = 0; i < count; ++i) {
      uint16_t h;
      std::memcpy(&h, out.get() + 2 * i, 2);
      ASSERT_EQ(h, F32ToF16(x[static_cast<size_t>(i)]));
    }
    ASSERT_EQ(out.get()[2 * count], std::byte{0});
    table().store(x.data(), DType::kF32, count, out.get());
    ASSERT_EQ(std::memcmp(out.get(), x.data(), static_cast<size_t>(count) * 4), 0);
  }
}

TEST_P(RowWiseTest, StoreQ8) {
  const int64_t count = 96;
  auto x = RandomFloats(count, 6, 100.0f);
  std::fill_n(x.begin(), 32, 0.0f);
  x[40] = 1e4f;
  std::vector<std::byte> got(static_cast<size_t>(KvVectorBytes(DType::kQ8_0, count)));
  table().store(x.data(), DType::kQ8_0, count, got.data());
  for (int64_t i = 0; i < count; ++i) {
    const auto group = x.begin() + i / kKvGroup * kKvGroup;
    const float top =
        std::accumulate(group, group + kKvGroup, 0.0f, [](float a, float b) { return std::max(a, std::fabs(b)); });
    float scale;
    std::memcpy(&scale, got.data() + count + i / kKvGroup * 4, 4);
    ASSERT_EQ(scale, top / 127.0f);
    ASSERT_NEAR(scale * static_cast<float>(static_cast<int8_t>(got[static_cast<size_t>(i)])), x[static_cast<size_t>(i)],
                scale * 0.5001f)
        << i;
  }
}

// Squared error of storing `x`, per squared value.
double StoredError(const KernelTable& table, DType type, const std::vector<float>& x) {
  const auto count = static_cast<int64_t>(x.size());
  std::vector<std::byte> stored(static_cast<size_t>(KvVectorBytes(type, count)));
  table.store(x.data(), type, count, stored.data());
  std::vector<float> back(x.size());
  kernel_test::DecodeKv(stored.data(), type, count, back.data());
  double error = 0, squares = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += std::pow(double{x[i]} - back[i], 2);
    squares += std::pow(x[i], 2);
  }
  return error / squares;
}

TEST_P(RowWiseTest, StoreQ4LeavesWhatItsLevelsPromise) {
  for (const float deviation : {1.0f, 1e-20f, 1e15f}) {
    const auto x = RandomFloats(32 * 4096, 8, deviation);
    EXPECT_LT(StoredError(table(), DType::kQ4_0, x), 0.0056);
    EXPECT_GT(StoredError(table(), DType::kQ4_0, x), 0.0054);
  }
}

TEST_P(RowWiseTest, StoreQ4OfHostileGroups) {
  std::vector<float> x(96);
  x[40] = -1e30f;
  for (size_t i = 64; i < 96; ++i) x[i] = 1e-39f;
  std::vector<std::byte> stored(static_cast<size_t>(KvVectorBytes(DType::kQ4_0, 96)));
  table().store(x.data(), DType::kQ4_0, 96, stored.data());
  std::vector<float> back(96);
  kernel_test::DecodeKv(stored.data(), DType::kQ4_0, 96, back.data());
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(back[i], 0.0f);
  for (size_t i = 64; i < 96; ++i) EXPECT_EQ(back[i], 0.0f);
  EXPECT_NEAR(back[40] / x[40], 1.0, 0.01);
}

// Sums differ in the last bits, so that another scale may win now and then.
TEST_P(RowWiseTest, StoreQ4AgreesWithTheReference) {
  const auto x = RandomFloats(32 * 1024, 9);
  const auto count = static_cast<int64_t>(x.size());
  std::vector<std::byte> got(static_cast<size_t>(KvVectorBytes(DType::kQ4_0, count))), want(got.size());
  table().store(x.data(), DType::kQ4_0, count, got.data());
  AvailableKernels({}).front()->store(x.data(), DType::kQ4_0, count, want.data());
  int64_t different = 0;
  for (size_t i = 0; i < got.size(); ++i) different += got[i] != want[i];
  EXPECT_LT(different, count / 200);
}

TEST_P(RowWiseTest, HadamardIsItsDefinitionAndItsOwnInverse) {
  for (const int64_t block : {32, 64, 128, 256}) {
    for (const int64_t blocks : {1, 3}) {
      const auto x = RandomFloats(block * blocks, 10);
      auto y = x;
      table().hadamard(y.data(), block * blocks, block);
      for (int64_t i = 0; i < block * blocks; ++i) {
        const int64_t first = i / block * block;
        double sum = 0;
        for (int64_t j = 0; j < block; ++j) {
          const bool minus = std::popcount(static_cast<uint64_t>(j & (i - first))) % 2 != 0;
          sum += minus ? -x[static_cast<size_t>(first + j)] : x[static_cast<size_t>(first + j)];
        }
        ASSERT_NEAR(y[static_cast<size_t>(i)], sum / std::sqrt(static_cast<double>(block)), 3e-6) << block << " " << i;
      }
      auto want = x;
      AvailableKernels({}).front()->hadamard(want.data(), block * blocks, block);
      ASSERT_EQ(y, want);  // the same bits on every target
      table().hadamard(y.data(), block * blocks, block);
      for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], x[i], 3e-6);
    }
  }
}

std::vector<const KernelTable*> Tables() {
  const auto tables = AvailableKernels(DetectCpuFeatures());
  return {tables.begin(), tables.end()};
}

INSTANTIATE_TEST_SUITE_P(Targets, RowWiseTest, ::testing::ValuesIn(Tables()),
                         [](const auto& test) { return std::string(test.param->target); });

}  // namespace
}  // namespace inkstone

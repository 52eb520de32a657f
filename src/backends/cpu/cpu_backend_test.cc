#include "backends/cpu/cpu_backend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace inkstone {
namespace {

constexpr int kHeads = 6, kKvHeads = 2, kPageTokens = 16;
constexpr int64_t kTokens = 70;  // enough for two attention tasks, and for pages that are not full

std::vector<float> RandomFloats(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

Rows View(std::vector<float>& values, int64_t cols) {
  return {values.data(), static_cast<int64_t>(values.size()) / cols, cols, cols};
}

// What a prompt's tokens attend to, with a cache of these types. One channel of the keys is ten times the others.
std::vector<float> Attend(const KernelTable& kernels, int threads, KvTypes types, int head_dim) {
  ThreadPool pool(threads);
  const auto backend = MakeCpuBackend(kernels, &pool);
  BackendLimits limits;
  limits.max_rows = kTokens;
  limits.max_sequences = 1;
  limits.max_cols = kHeads * head_dim;
  limits.heads_per_kv = kHeads / kKvHeads;
  limits.head_dim = head_dim;
  limits.page_tokens = kPageTokens;
  EXPECT_TRUE(backend->Reserve(limits).ok());
  auto q = RandomFloats(kTokens * kHeads * head_dim, 1), k = RandomFloats(kTokens * kKvHeads * head_dim, 2);
  auto v = RandomFloats(kTokens * kKvHeads * head_dim, 3), out = std::vector<float>(q.size());
  for (size_t i = 3; i < k.size(); i += static_cast<size_t>(head_dim)) k[i] *= 10;
  constexpr int64_t kPages = (kTokens + kPageTokens - 1) / kPageTokens;
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::byte*> pages;
  for (const DType type : {types.k, types.v}) {
    for (int64_t p = 0; p < kPages; ++p) {
      memory.emplace_back(static_cast<size_t>(kKvHeads * kPageTokens * KvVectorBytes(type, head_dim)));
      pages.push_back(memory.back().data());
    }
  }
  const std::span<std::byte* const> all(pages);
  const SequenceRows sequence{
      Phase::kPrompt, 0, kTokens, 0, {types, kPageTokens, kKvHeads, head_dim, all.first(kPages), all.last(kPages)}};
  backend->StoreKv(View(k, kKvHeads * head_dim), View(v, kKvHeads * head_dim), {&sequence, 1});
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  const Rows rows = View(out, kHeads * head_dim);
  backend->Attention(View(q, kHeads * head_dim), kHeads, scale, true, {&sequence, 1}, rows);
  return out;
}

double RelativeError(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, squares = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += std::pow(double{got[i]} - want[i], 2);
    squares += std::pow(want[i], 2);
  }
  return std::sqrt(error / squares);
}

// Keys that are stored rotated would be far off if queries were not rotated alike.
TEST(CpuBackend, EveryCacheTypeStaysNearF32) {
  const auto near = [](DType type) { return type == DType::kQ4_0 ? 0.3 : type == DType::kQ8_0 ? 0.1 : 0.005; };
  for (const KernelTable* kernels : AvailableKernels(DetectCpuFeatures())) {
    for (const int head_dim : {64, 96}) {
      const auto want = Attend(*kernels, 2, {DType::kF32, DType::kF32}, head_dim);
      for (const DType k : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
        for (const DType v : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
          const auto got = Attend(*kernels, 2, {k, v}, head_dim);
          EXPECT_LT(RelativeError(got, want), near(k) + near(v)) << kernels->target << " " << KvTypesName({k, v});
          EXPECT_EQ(got, Attend(*kernels, 1, {k, v}, head_dim)) << kernels->target << " " << KvTypesName({k, v});
        }
      }
    }
  }
}

}  // namespace
}  // namespace inkstone

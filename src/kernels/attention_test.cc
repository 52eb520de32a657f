#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/half.h"
#include "core/kv_vector.h"
#include "kernels/kernels.h"
#include "kernels/test_tools.h"
#include "quant/codec.h"

namespace inkstone {
namespace {

using kernel_test::Buffer;
using kernel_test::RandomFloats;

constexpr DType kKvTypes[] = {DType::kF32, DType::kF16, DType::kQ8_0, DType::kQ4_0};

const KernelTable& Reference() { return *AvailableKernels(DetectCpuFeatures()).front(); }

struct Shape {
  int heads = 4;
  int kv_heads = 1;
  int head_dim = 128;
  int page_tokens = 16;
  int64_t context = 5;  // positions in all, the query tokens being the last
  int64_t tokens = 1;
  KvTypes types = {};
};

// A sequence's keys, values and queries. Positions beyond the context hold NaN, which must never be seen.
struct Sequence {
  // change(values, head_dim), if any, alters each page's random values.
  using Change = void (*)(std::vector<float>* values, int head_dim);
  Sequence(const Shape& s, unsigned seed, Change change = nullptr)
      : shape(s), q(RandomFloats(s.tokens * s.heads * s.head_dim, seed)) {
    const int64_t pages = (s.context + s.page_tokens - 1) / s.page_tokens;
    const int64_t page_elements = static_cast<int64_t>(s.kv_heads) * s.page_tokens * s.head_dim;
    const auto fill = [&](int64_t page, unsigned its_seed, DType type, std::vector<Buffer>* out) {
      auto values = RandomFloats(page_elements, its_seed + static_cast<unsigned>(page));
      if (change != nullptr) change(&values, s.head_dim);
      Fill(page, values, type, out);
    };
    for (int64_t p = 0; p < pages; ++p) {
      fill(p, seed + 10, s.types.k, &k);
      fill(p, seed + 90, s.types.v, &v);
    }
    for (const Buffer& b : k) k_pages.push_back(b.get());
    for (const Buffer& b : v) v_pages.push_back(b.get());
  }

  void Fill(int64_t page, const std::vector<float>& values, DType type, std::vector<Buffer>* pages) {
    const auto vector_bytes = static_cast<size_t>(KvVectorBytes(type, shape.head_dim));
    const int64_t vectors = static_cast<int64_t>(values.size()) / shape.head_dim;
    pages->emplace_back(static_cast<size_t>(vectors) * vector_bytes);
    for (int64_t i = 0; i < vectors; ++i) {
      std::byte* out = pages->back().get() + static_cast<size_t>(i) * vector_bytes;
      if (page * shape.page_tokens + i % shape.page_tokens < shape.context) {
        Reference().store(values.data() + i * shape.head_dim, type, shape.head_dim, out);
      } else {
        std::memset(out, 0xff, vector_bytes);  // NaN in every type
      }
    }
  }

  // The vector of one position.
  std::vector<float> At(const std::vector<Buffer>& pages, DType type, int kv_head, int64_t position) const {
    const int64_t i = static_cast<int64_t>(kv_head) * shape.page_tokens + position % shape.page_tokens;
    std::vector<float> vector(static_cast<size_t>(shape.head_dim));
    const std::byte* page = pages[static_cast<size_t>(position / shape.page_tokens)].get();
    kernel_test::DecodeKv(page + i * KvVectorBytes(type, shape.head_dim), type, shape.head_dim, vector.data());
    return vector;
  }

  Shape shape;
  std::vector<float> q;
  std::vector<Buffer> k, v;
  std::vector<const std::byte*> k_pages, v_pages;
};

// (tokens, heads * head_dim) for query tokens [begin, end), in calls of at most `step` tokens and one KV head.
std::vector<float> Attend(const KernelTable& table, const Sequence& s, Phase phase, int64_t begin, int64_t end,
                          int64_t step) {
  const Shape& shape = s.shape;
  const int64_t width = static_cast<int64_t>(shape.heads) * shape.head_dim;
  std::vector<float> out(static_cast<size_t>((end - begin) * width));
  const Buffer scratch(table.attention_scratch_bytes(shape.heads / shape.kv_heads, shape.head_dim, shape.page_tokens));
  AttentionOp op;
  op.phase = phase;
  op.q = s.q.data() + begin * width;
  op.q_stride = op.out_stride = width;
  op.out = out.data();
  op.tokens = end - begin;
  op.first_position = shape.context - shape.tokens + begin;
  op.heads = shape.heads;
  op.kv_heads = shape.kv_heads;
  op.head_dim = shape.head_dim;
  op.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  op.types = shape.types;
  op.page_tokens = shape.page_tokens;
  op.k_pages = s.k_pages.data();
  op.v_pages = s.v_pages.data();
  for (int64_t t = 0; t < end - begin; t += step) {
    for (int h = 0; h < shape.kv_heads; ++h)
      table.attention(op, h, h + 1, t, std::min(end - begin, t + step), scratch.get());
  }
  return out;
}

// Softmax(q k / sqrt(d)) v in two passes of double arithmetic, of inputs that were rounded to bf16 first if `rounded`.
std::vector<double> Exact(const Sequence& s, bool rounded) {
  const Shape& shape = s.shape;
  const auto input = [&](double v) {
    return rounded ? static_cast<double>(BF16ToF32(F32ToBF16(static_cast<float>(v)))) : v;
  };
  std::vector<double> out;
  for (int64_t t = 0; t < shape.tokens; ++t) {
    const int64_t visible = shape.context - shape.tokens + t + 1;
    for (int h = 0; h < shape.heads; ++h) {
      const int kv_head = h / (shape.heads / shape.kv_heads);
      const float* q = s.q.data() + (t * shape.heads + h) * shape.head_dim;
      std::vector<double> weights;
      for (int64_t p = 0; p < visible; ++p) {
        const std::vector<float> key = s.At(s.k, shape.types.k, kv_head, p);
        double score = 0;
        for (int d = 0; d < shape.head_dim; ++d) score += input(q[d]) * input(key[static_cast<size_t>(d)]);
        weights.push_back(score / std::sqrt(shape.head_dim));
      }
      const double top = *std::max_element(weights.begin(), weights.end());
      double total = 0;
      for (double& w : weights) total += w = std::exp(w - top);
      std::vector<double> sum(static_cast<size_t>(shape.head_dim));
      for (int64_t p = 0; p < visible; ++p) {
        const std::vector<float> value = s.At(s.v, shape.types.v, kv_head, p);
        for (size_t d = 0; d < sum.size(); ++d) sum[d] += weights[static_cast<size_t>(p)] / total * input(value[d]);
      }
      out.insert(out.end(), sum.begin(), sum.end());
    }
  }
  return out;
}

using Case = std::tuple<const KernelTable*, Phase>;

class AttentionTest : public ::testing::TestWithParam<Case> {
 protected:
  const KernelTable& table() const { return *std::get<0>(GetParam()); }
  Phase phase() const { return std::get<1>(GetParam()); }

  // bf16 tiles also round the weights of the softmax, by up to 2^-9 of each.
  bool Tiles(const Shape& shape) const {
    return table().target == "amx" && phase() == Phase::kPrompt && shape.types.k != DType::kF32 &&
           shape.types.v != DType::kF32 && shape.head_dim % 32 == 0;
  }
  // Words round queries and weights to 15 bits of the largest.
  bool Words(const Shape& shape) const {
    return table().target == "avx512vnni" && phase() == Phase::kPrompt && !IsFloat(shape.types.k) &&
           !IsFloat(shape.types.v);
  }
  void ExpectExact(const Shape& shape) { ExpectExact(Sequence(shape, 7), Words(shape) ? 3e-4 : 3e-6); }
  void ExpectExact(const Sequence& s, double tolerance) {
    const Shape& shape = s.shape;
    const auto got = Attend(table(), s, phase(), 0, shape.tokens, shape.tokens);
    const auto want = Exact(s, Tiles(shape));
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], Tiles(shape) ? 4e-3 : tolerance) << i << " context " << shape.context;
    }
  }
};

TEST_P(AttentionTest, HeadDimensions) {
  for (const int head_dim : {2, 34, 64, 80, 128}) ExpectExact({.head_dim = head_dim, .context = 39, .tokens = 9});
}

TEST_P(AttentionTest, GroupSizes) {
  ExpectExact({.heads = 2, .kv_heads = 2, .context = 20, .tokens = 6});
  ExpectExact({.heads = 6, .kv_heads = 2, .context = 20, .tokens = 6});
  ExpectExact({.heads = 8, .kv_heads = 2, .context = 20, .tokens = 6});
  ExpectExact({.heads = 16, .kv_heads = 2, .context = 20, .tokens = 6});
  ExpectExact({.heads = 40, .kv_heads = 1, .head_dim = 16, .context = 20, .tokens = 6});
}

TEST_P(AttentionTest, SpansOfQuantizedPages) {
  for (const DType type : {DType::kQ8_0, DType::kQ4_0}) {
    for (const int page_tokens : {1, 24, 32, 200}) {
      ExpectExact({.heads = 3,
                   .head_dim = 32,
                   .page_tokens = page_tokens,
                   .context = 310,
                   .tokens = 290,
                   .types = {type, type}});
    }
  }
}

TEST_P(AttentionTest, PageBorders) {
  for (const int page_tokens : {1, 16, 24, 64}) {
    for (const int64_t context : {1, 15, 16, 17, 64, 65, 80}) {
      ExpectExact({.heads = 3, .head_dim = 32, .page_tokens = page_tokens, .context = context});
    }
  }
  ExpectExact({.heads = 2, .head_dim = 32, .page_tokens = 64, .context = 310, .tokens = 290});
  ExpectExact({.heads = 2, .head_dim = 32, .page_tokens = 24, .context = 310, .tokens = 290});
}

TEST_P(AttentionTest, FloatCache) {
  ExpectExact(
      {.heads = 4, .kv_heads = 2, .head_dim = 80, .context = 70, .tokens = 20, .types = {DType::kF32, DType::kF32}});
}

TEST_P(AttentionTest, EveryPairOfTypes) {
  for (const DType k : kKvTypes) {
    for (const DType v : kKvTypes) {
      SCOPED_TRACE(KvTypesName({k, v}));
      for (const int head_dim : {32, 64, 80, 96, 128}) {
        if (!KvTypeFits(k, head_dim) || !KvTypeFits(v, head_dim)) continue;
        // 5 pages, the last of them short; groups of 1, 2, 3 and 4 query heads.
        ExpectExact({.heads = 4, .kv_heads = 2, .head_dim = head_dim, .context = 70, .tokens = 7, .types = {k, v}});
        ExpectExact(
            {.heads = 3, .kv_heads = 3, .head_dim = head_dim, .page_tokens = 24, .context = 65, .types = {k, v}});
      }
      ExpectExact({.heads = 6, .kv_heads = 2, .head_dim = 64, .context = 40, .tokens = 3, .types = {k, v}});
      ExpectExact({.heads = 4, .kv_heads = 1, .head_dim = 96, .context = 33, .tokens = 2, .types = {k, v}});
    }
  }
}

// Vectors that quantizing could stumble over. The exact result is that of the stored values, so the tolerance is that
// of f32 sums over values of this size.
TEST_P(AttentionTest, HostileVectors) {
  const auto zeros = [](std::vector<float>* x, int) { std::fill(x->begin(), x->end(), 0.0f); };
  const auto denormals = [](std::vector<float>* x, int) {
    for (float& v : *x) v *= 1e-39f;
  };
  const auto outliers = [](std::vector<float>* x, int head_dim) {
    for (size_t i = 5; i < x->size(); i += static_cast<size_t>(head_dim)) (*x)[i] *= 1e3f;
  };
  for (const DType k : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
    for (const DType v : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
      SCOPED_TRACE(KvTypesName({k, v}));
      const Shape shape{.heads = 4, .kv_heads = 2, .head_dim = 64, .context = 41, .tokens = 3, .types = {k, v}};
      ExpectExact(Sequence(shape, 11, zeros), 1e-30);
      ExpectExact(Sequence(shape, 11, denormals), 1e-37);
      Sequence large(shape, 11, outliers);
      for (float& q : large.q) q *= 1e-2f;                                // else one key would take all the weight
      if (!Tiles(shape)) ExpectExact(large, Words(shape) ? 1e-1 : 3e-2);  // of values up to 3,000
    }
  }
}

// One key that outweighs the others by far, first or last: the running maximum has to rescale.
TEST_P(AttentionTest, LargeScores) {
  for (const DType type : {DType::kF32, DType::kF16}) {
    const Shape shape{
        .heads = 2, .head_dim = 64, .page_tokens = 16, .context = 180, .tokens = 3, .types = {type, type}};
    for (const size_t page : {0, 4, 10}) {
      Sequence s(shape, 3);
      for (int d = 0; d < 64; ++d) {
        const float q = s.q[static_cast<size_t>(d)];
        const uint16_t half = F32ToF16(q);
        if (type == DType::kF32) std::memcpy(s.k[page].get() + (2 * 64 + d) * 4, &q, 4);
        if (type == DType::kF16) std::memcpy(s.k[page].get() + (2 * 64 + d) * 2, &half, 2);
      }
      for (float& x : s.q) x *= 40.0f;
      ExpectExact(s, 3e-4);  // scores near 300 keep five digits after the point in f32
    }
  }
}

// The same bits whether tokens come alone or together, and wherever a chunk begins.
TEST_P(AttentionTest, ChunkInvariant) {
  for (const auto& shape :
       {Shape{.heads = 8, .kv_heads = 2, .head_dim = 80, .page_tokens = 16, .context = 83, .tokens = 61},
        Shape{.heads = 3, .kv_heads = 1, .head_dim = 64, .page_tokens = 32, .context = 283, .tokens = 261},
        Shape{.heads = 8, .kv_heads = 2, .context = 83, .tokens = 61, .types = {DType::kQ8_0, DType::kQ8_0}},
        Shape{.heads = 8, .kv_heads = 2, .context = 83, .tokens = 61, .types = {DType::kQ8_0, DType::kQ4_0}},
        Shape{.heads = 3, .page_tokens = 24, .context = 283, .tokens = 261, .types = {DType::kQ8_0, DType::kQ8_0}},
        Shape{.heads = 6,
        .kv_heads = 2,
        .head_dim = 96,
        .context = 83,
        .tokens = 61,
        .types = {DType::kQ4_0, DType::kF16}}}) {
    const Sequence s(shape, 5);
    const auto width = static_cast<size_t>(shape.heads) * static_cast<size_t>(shape.head_dim);
    const auto together = Attend(table(), s, phase(), 0, shape.tokens, shape.tokens);
    for (const int64_t step : {1, 3, 16}) {
      ASSERT_EQ(Attend(table(), s, phase(), 0, shape.tokens, step), together) << step;
    }
    for (const int64_t begin : {1, 20, 60}) {
      const auto part = Attend(table(), s, phase(), begin, shape.tokens, shape.tokens);
      ASSERT_TRUE(std::equal(part.begin(), part.end(), together.begin() + static_cast<int64_t>(width) * begin))
          << begin;
      const auto alone = Attend(table(), s, phase(), begin, begin + 1, 1);
      ASSERT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<int64_t>(width) * begin))
          << begin;
    }
  }
}

std::vector<const KernelTable*> Tables() {
  const auto tables = AvailableKernels(DetectCpuFeatures());
  return {tables.begin(), tables.end()};
}

INSTANTIATE_TEST_SUITE_P(Targets, AttentionTest,
                         ::testing::Combine(::testing::ValuesIn(Tables()),
                                            ::testing::Values(Phase::kPrompt, Phase::kDecode)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param)->target) + "_" +
                                  kernel_test::PhaseName(std::get<1>(test.param));
                         });

}  // namespace
}  // namespace inkstone

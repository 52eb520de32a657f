#include "compress/logit_row.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "compress/divergence.h"

namespace inkstone {
namespace {

std::vector<std::byte> Encode(const std::vector<float>& logits) {
  std::vector<std::byte> bytes(EncodedLogitBytes(static_cast<int64_t>(logits.size())));
  std::vector<float> scratch(logits.size());
  EncodeLogits(logits, scratch, bytes);
  return bytes;
}

std::vector<float> RoundTrip(const std::vector<float>& logits) {
  std::vector<float> decoded(logits.size());
  const Status status = DecodeLogits(Encode(logits), decoded);
  EXPECT_TRUE(status.ok()) << status.message();
  return decoded;
}

std::vector<float> RandomLogits(size_t vocab, uint32_t seed, float deviation) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(-3, deviation);
  std::vector<float> logits(vocab);
  for (float& v : logits) v = normal(random);
  return logits;
}

TEST(LogitRow, LargestAreExactAndTheOthersNear) {
  for (const size_t vocab : {1u, 127u, 128u, 129u, 500u, 6144u}) {
    const auto logits = RandomLogits(vocab, 5, 4);
    const auto decoded = RoundTrip(logits);
    auto sorted = logits;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const float border = sorted[std::min<size_t>(vocab, kExactLogits) - 1];
    const float step = (border - sorted.back()) / 65535;
    for (size_t i = 0; i < vocab; ++i) {
      if (logits[i] >= border) {
        EXPECT_EQ(decoded[i], logits[i]);
      } else {
        EXPECT_NEAR(decoded[i], logits[i], 0.51f * step + 1e-5f);
      }
    }
  }
}

TEST(LogitRow, DivergenceSuffersLittle) {
  // From flat rows, where nearly all of the mass lies among the rounded logits, to steep ones.
  for (const float deviation : {0.1f, 1.0f, 2.5f, 4.0f, 8.0f}) {
    const auto logits = RandomLogits(20000, 7, deviation);
    EXPECT_LT(ScoreRow(RoundTrip(logits), logits, 0).divergence, 1e-8) << deviation;
    EXPECT_LT(ScoreRow(logits, RoundTrip(logits), 0).divergence, 1e-8) << deviation;
  }
}

TEST(LogitRow, EqualLogitsAndWideRows) {
  const std::vector<float> flat(1000, 2.5f);
  EXPECT_EQ(RoundTrip(flat), flat);
  std::vector<float> steps = RandomLogits(2000, 4, 3);
  for (float& v : steps) v = std::round(v);
  EXPECT_THAT(RoundTrip(steps), testing::Pointwise(testing::FloatNear(3e-4f), steps));
  std::vector<float> wide = RandomLogits(1000, 3, 2);
  wide[10] = -1e30f;  // an unused row of the vocabulary
  const auto decoded = RoundTrip(wide);
  EXPECT_LT(decoded[10], -100);
  EXPECT_LT(ScoreRow(wide, decoded, 0).divergence, 1e-6);
  EXPECT_EQ(Encode(wide), Encode(wide));
}

TEST(LogitRow, DamageIsAnErrorOrFiniteValues) {
  const auto logits = RandomLogits(300, 9, 3);
  const auto good = Encode(logits);
  std::vector<float> decoded(logits.size());
  int refused = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      auto bad = good;
      bad[i] = static_cast<std::byte>(value);
      if (!DecodeLogits(bad, decoded).ok()) {
        ++refused;
        continue;
      }
      for (const float v : decoded) ASSERT_TRUE(std::isfinite(v)) << i;
    }
  }
  EXPECT_GT(refused, 500);
  auto bad = good;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bad.data() + kExactLogits * 4, &nan, sizeof(nan));
  EXPECT_THAT(DecodeLogits(bad, decoded).message(), testing::HasSubstr("expected a finite logit"));
}

}  // namespace
}  // namespace inkstone

#include "compress/divergence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace inkstone {
namespace {

std::vector<float> RandomLogits(size_t vocab, uint32_t seed, float deviation) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> logits(vocab);
  for (float& v : logits) v = normal(random);
  return logits;
}

long double LogSum(const std::vector<float>& logits) {
  long double sum = 0;
  for (const float v : logits) sum += std::exp(static_cast<long double>(v));
  return std::log(sum);
}

// By the definition, in long double.
long double PlainDivergence(const std::vector<float>& reference, const std::vector<float>& model) {
  const long double r = LogSum(reference);
  const long double m = LogSum(model);
  long double kl = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const long double log_p = static_cast<long double>(reference[i]) - r;
    kl += std::exp(log_p) * (log_p - (static_cast<long double>(model[i]) - m));
  }
  return kl;
}

TEST(Divergence, AgreesWithTheDefinition) {
  for (const size_t vocab : {1u, 7u, 256u, 1000u, 6144u}) {
    for (const float noise : {0.0f, 1e-4f, 0.01f, 1.0f}) {
      const auto reference = RandomLogits(vocab, 1, 4);
      auto model = RandomLogits(vocab, 2, noise);
      for (size_t i = 0; i < vocab; ++i) model[i] += reference[i] + 3;  // a common shift changes nothing
      const int32_t next = static_cast<int32_t>(vocab / 2);
      const RowScore score = ScoreRow(model, reference, next);
      const size_t at = vocab / 2;
      EXPECT_NEAR(score.loss, static_cast<double>(LogSum(model) - static_cast<long double>(model[at])), 1e-12);
      EXPECT_NEAR(score.reference_loss,
                  static_cast<double>(LogSum(reference) - static_cast<long double>(reference[at])), 1e-12);
      EXPECT_NEAR(score.divergence, static_cast<double>(PlainDivergence(reference, model)), 1e-13) << vocab;
      EXPECT_DOUBLE_EQ(ScoreRow(model, next).loss, score.loss);
    }
  }
}

TEST(Divergence, ExtremeLogits) {
  std::vector<float> reference = {3e38f, -3e38f, 0.0f};
  RowScore score = ScoreRow(reference, reference, 0);
  EXPECT_EQ(score.loss, 0);
  EXPECT_EQ(score.divergence, 0);
  EXPECT_TRUE(score.same_top);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    const std::vector<float> good = {1, 2, 3, 4};
    const std::vector<float> damaged = {1, bad, 3, 4};
    EXPECT_FALSE(std::isfinite(ScoreRow(damaged, good, 0).divergence)) << bad;
    EXPECT_FALSE(std::isfinite(ScoreRow(good, damaged, 0).divergence)) << bad;
  }
  EXPECT_FALSE(ScoreRow(std::vector<float>{1, 2}, std::vector<float>{2, 1}, 0).same_top);
  EXPECT_TRUE(ScoreRow(std::vector<float>{2, 2}, std::vector<float>{2, 1}, 0).same_top);  // the first of equals
}

TEST(Divergence, EstimatesAndQuantiles) {
  std::vector<RowScore> rows;
  for (int i = 1; i <= 5; ++i) {
    rows.push_back({static_cast<double>(i), static_cast<double>(i) - 0.5, static_cast<double>(i * i), i != 3});
  }
  const Evaluation e = Summarize(rows, true);
  EXPECT_EQ(e.scored, 5);
  EXPECT_DOUBLE_EQ(e.loss.mean, 3);
  EXPECT_DOUBLE_EQ(e.loss.error, std::sqrt(2.5 / 5));
  EXPECT_DOUBLE_EQ(e.Perplexity().mean, std::exp(3.0));
  EXPECT_DOUBLE_EQ(e.Perplexity().error, std::exp(3.0) * std::sqrt(0.5));
  const Divergence& d = *e.divergence;
  EXPECT_DOUBLE_EQ(d.PerplexityRatio().mean, std::exp(0.5));
  EXPECT_NEAR(d.PerplexityRatio().error, 0, 1e-15);  // every position differs by the same: no doubt about the ratio
  EXPECT_DOUBLE_EQ(d.kl.mean, 11);
  EXPECT_DOUBLE_EQ(d.median, 9);
  EXPECT_DOUBLE_EQ(d.p99, 16 + 0.96 * 9);  // as numpy.quantile
  EXPECT_DOUBLE_EQ(d.top1_agreement.mean, 0.8);
  EXPECT_DOUBLE_EQ(d.top1_agreement.error, std::sqrt(0.8 * 0.2 / 4));
  EXPECT_FALSE(Summarize(rows, false).divergence.has_value());
  EXPECT_TRUE(std::isnan(Summarize(std::span(rows).first(1), false).loss.error));
}

}  // namespace
}  // namespace inkstone

#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>

namespace inkstone {
namespace {

using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> Logs(const std::vector<double>& p) {
  std::vector<float> logits;
  for (const double v : p) logits.push_back(static_cast<float>(std::log(v)));
  return logits;
}

// Relative frequencies of `draws` tokens.
std::map<int32_t, double> Frequencies(const SamplingParams& params, std::vector<float> logits, int draws,
                                      const std::vector<int32_t>& history = {0}, size_t prompt = 1) {
  Sampler sampler(params, 17);
  SamplerWorkspace workspace(static_cast<int32_t>(logits.size()));
  std::map<int32_t, double> seen;
  for (int i = 0; i < draws; ++i) {
    const auto token = sampler.Sample(logits, history, prompt, &workspace);
    EXPECT_TRUE(token.ok()) << token.status().message();
    seen[*token] += 1.0 / draws;
  }
  return seen;
}

int32_t Greedy(SamplingParams params, std::vector<float> logits, const std::vector<int32_t>& history = {0},
               size_t prompt = 1) {
  params.temperature = 0;
  SamplerWorkspace workspace(static_cast<int32_t>(logits.size()));
  return *Sampler(params, 1).Sample(logits, history, prompt, &workspace);
}

TEST(Random, IsXoshiro256StarStarSeededBySplitmix) {
  Random random(0);
  EXPECT_EQ(random.Next(), 11091344671253066420u);
  EXPECT_EQ(random.Next(), 13793997310169335082u);
  EXPECT_EQ(random.Next(), 1900383378846508768u);
  for (int i = 0; i < 1000; ++i) {
    const double u = random.NextUnit();
    EXPECT_GE(u, 0.0);
    EXPECT_LT(u, 1.0);
  }
}

TEST(Sampler, GreedyTakesTheLikeliestAndTheLowestIdOfATie) {
  EXPECT_EQ(Greedy({}, {0.5f, 2.0f, 2.0f, -1.0f}), 1);
  EXPECT_EQ(Greedy({}, {-3.0f, -kInfinity, -2.0f}), 2);
  EXPECT_FALSE(Frequencies({.top_k = 1}, {1.0f, 1.0f}, 50).contains(1));
}

TEST(Sampler, NeutralParametersFollowTheModel) {
  const auto seen = Frequencies({}, Logs({0.5, 0.3, 0.2}), 20000);
  EXPECT_NEAR(seen.at(0), 0.5, 0.012);
  EXPECT_NEAR(seen.at(1), 0.3, 0.012);
  EXPECT_NEAR(seen.at(2), 0.2, 0.012);
}

TEST(Sampler, TemperatureFlattensAndSharpens) {
  EXPECT_NEAR(Frequencies({.temperature = 2.0f}, Logs({0.8, 0.2}), 20000).at(0), 2.0 / 3, 0.012);
  EXPECT_NEAR(Frequencies({.temperature = 0.5f}, Logs({0.8, 0.2}), 20000).at(0), 16.0 / 17, 0.012);
}

// What is left after the filters, written for clearness: everything sorted, everything normalized after each step.
std::map<int32_t, double> Reference(const SamplingParams& params, const std::vector<float>& logits) {
  std::vector<std::pair<int32_t, double>> left;  // token, probability
  const float best = *std::max_element(logits.begin(), logits.end());
  for (size_t t = 0; t < logits.size(); ++t) {
    left.emplace_back(t, std::exp(static_cast<double>((logits[t] - best) * (1.0f / params.temperature))));
  }
  const auto normalize = [&left] {
    double sum = 0;
    for (const auto& [t, p] : left) sum += p;
    for (auto& [t, p] : left) p /= sum;
  };
  const auto sort_by = [&left](const auto& key) {
    std::stable_sort(left.begin(), left.end(), [&key](const auto& a, const auto& b) { return key(a) < key(b); });
  };
  const auto keep_mass = [&](double share) {
    double mass = 0;
    size_t n = 0;
    while (n < left.size() && mass < share) mass += left[n++].second;
    left.resize(n);
    normalize();
  };
  normalize();
  sort_by([](const auto& c) { return -c.second; });
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < left.size()) left.resize(size_t(params.top_k));
  normalize();
  if (params.top_p < 1) keep_mass(params.top_p);
  std::erase_if(left, [&, most = left[0].second](const auto& c) { return c.second < most * params.min_p; });
  normalize();
  if (params.typical_p < 1) {
    double entropy = 0;
    for (const auto& [t, p] : left) entropy -= p * std::log(p);
    sort_by([entropy](const auto& c) { return std::abs(-std::log(c.second) - entropy); });
    keep_mass(params.typical_p);
  }
  return {left.begin(), left.end()};
}

TEST(Sampler, FiltersMatchTheReferenceForRandomParameters) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 2);
  const auto coin = [&random] { return random() % 2 == 0; };
  const auto unit = [&random] { return 0.02f + 0.96f * static_cast<float>(random() % 1000) / 1000; };
  for (int round = 0; round < 150; ++round) {
    std::vector<float> logits(60);
    for (float& l : logits) l = normal(random);
    SamplingParams params;
    params.temperature = 0.3f + 2 * unit();
    if (coin()) params.top_k = 1 + static_cast<int>(random() % 70);
    if (coin()) params.top_p = unit();
    if (coin()) params.min_p = unit() / 4;
    if (coin()) params.typical_p = unit();
    const auto expected = Reference(params, logits);
    constexpr int kDraws = 3000;
    const auto seen = Frequencies(params, logits, kDraws);
    for (const auto& [token, f] : seen) {
      ASSERT_TRUE(expected.contains(token)) << "round " << round << " token " << token;
    }
    for (const auto& [token, p] : expected) {
      const double f = seen.contains(token) ? seen.at(token) : 0;
      ASSERT_NEAR(f, p, 5 * std::sqrt(p * (1 - p) / kDraws) + 1e-3) << "round " << round << " token " << token;
    }
  }
}

TEST(Sampler, TopPComesAfterTemperatureAndOnWhatTopKLeft) {
  EXPECT_EQ(Frequencies({.top_k = 2, .top_p = 0.6f}, Logs({0.5, 0.3, 0.2}), 200).size(), 1u);
  EXPECT_EQ(Frequencies({.top_p = 0.6f}, Logs({0.5, 0.3, 0.2}), 200).size(), 2u);
  EXPECT_EQ(Frequencies({.temperature = 100.0f, .top_p = 0.6f}, Logs({0.9, 0.05, 0.05}), 200).size(), 2u);
}

TEST(Sampler, TopPOverALargeFlatVocabularyKeepsTheLowestIds) {
  const auto seen = Frequencies({.top_p = 0.5f}, std::vector<float>(3000, 1.5f), 400);
  EXPECT_GT(seen.size(), 300u);
  EXPECT_LT(seen.rbegin()->first, 1500);
}

TEST(Sampler, TopKKeepsTheLowestIdsOfATie) {
  const auto seen = Frequencies({.top_k = 3}, {1, 2, 1, 1, 1}, 2000);
  EXPECT_EQ(seen.size(), 3u);
  EXPECT_TRUE(seen.contains(0) && seen.contains(1) && seen.contains(2));
}

TEST(Sampler, TopKBeyondTheVocabularyAndBannedTokensAreFine) {
  EXPECT_EQ(Frequencies({.top_k = 100}, {1, 1, -kInfinity}, 500).size(), 2u);
  EXPECT_EQ(Frequencies({.top_k = 3}, {1, 1, -kInfinity, -kInfinity}, 500).size(), 2u);
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  const SamplingParams params{.repetition_penalty = 2.0f};
  EXPECT_EQ(Greedy(params, {3.0f, 1.6f, 1.0f}, {0, 0, 0}, 1), 1);  // 3 / 2 once, however often it was seen
  EXPECT_EQ(Greedy(params, {3.0f, 1.4f, 1.0f}, {0, 0, 0}, 1), 0);
  EXPECT_EQ(Greedy(params, {-1.0f, -1.9f, -5.0f}, {0}, 1), 1);  // -2
  EXPECT_EQ(Greedy({.repetition_penalty = 0.5f}, {1.0f, 1.5f}, {0}, 1), 0);
}

TEST(Sampler, RepetitionPenaltyLooksAtItsWindowOnly) {
  EXPECT_EQ(Greedy({.repetition_penalty = 9.0f, .penalty_window = 2}, {3.0f, 2.0f, 1.0f}, {0, 1, 2}, 1), 0);
  EXPECT_EQ(Greedy({.repetition_penalty = 9.0f, .penalty_window = 3}, {3.0f, 2.0f, 1.0f}, {0, 1, 2}, 1), 0)
      << "all three are divided by 9";
  EXPECT_EQ(Greedy({.repetition_penalty = 9.0f, .penalty_window = 1}, {3.0f, 2.0f, 1.0f}, {1, 1, 0}, 1), 1);
}

TEST(Sampler, PresenceAndFrequencyPenaltiesLookAtTheAnswerOnly) {
  const std::vector<float> logits = {2.0f, 1.5f};
  EXPECT_EQ(Greedy({.presence_penalty = 1.0f}, logits, {0, 0}, 2), 0);
  EXPECT_EQ(Greedy({.presence_penalty = 1.0f}, logits, {0, 0}, 1), 1);
  EXPECT_EQ(Greedy({.frequency_penalty = 0.2f}, logits, {1, 0, 0}, 1), 0);  // 2 - 0.4
  EXPECT_EQ(Greedy({.frequency_penalty = 0.2f}, logits, {1, 0, 0, 0}, 1), 1);
  EXPECT_EQ(Greedy({.frequency_penalty = -1.0f}, logits, {0, 1}, 1), 1);
}

TEST(Sampler, BiasRaisesAndBans) {
  EXPECT_EQ(Greedy({.logit_bias = {{1, 2.0f}}}, {1.0f, 0.0f}), 1);
  EXPECT_EQ(Greedy({.logit_bias = {{1, -100.0f}}}, {1.0f, 500.0f}), 0);
  EXPECT_EQ(Greedy({.logit_bias = {{1, -100.0f}, {1, 90.0f}}}, {1.0f, 500.0f}), 0);
  EXPECT_EQ(Frequencies({.logit_bias = {{1, -120.0f}}}, {1, 1, 1}, 300).size(), 2u);
}

TEST(Sampler, BadLogitsAreAnErrorAndNoCrash) {
  SamplerWorkspace workspace(3);
  Sampler sampler({}, 1);
  std::vector<float> nan = {1, std::nanf(""), 2};
  EXPECT_EQ(sampler.Sample(nan, {}, 0, &workspace).status().code(), StatusCode::kInternal);
  EXPECT_THAT(sampler.Sample(nan, {}, 0, &workspace).status().message(), HasSubstr("token 1"));
  std::vector<float> infinite = {1, 2, kInfinity};
  EXPECT_EQ(sampler.Sample(infinite, {}, 0, &workspace).status().code(), StatusCode::kInternal);
  Sampler banned({.logit_bias = {{0, -100.0f}, {1, -100.0f}, {2, -100.0f}}}, 1);
  std::vector<float> logits = {1, 2, 3};
  EXPECT_EQ(banned.Sample(logits, {}, 0, &workspace).status().code(), StatusCode::kInvalidArgument);
}

TEST(Sampler, LogitsAreRestored) {
  const std::vector<float> before = {3, -2, 1, 0.1f};
  std::vector<float> logits = before;
  SamplerWorkspace workspace(4);
  SamplingParams params{.repetition_penalty = 1.7f, .presence_penalty = 0.3f, .frequency_penalty = 0.1f};
  params.logit_bias = {{0, 3.5f}, {0, -100.0f}, {2, 1.1f}};
  const std::vector<int32_t> history = {0, 1, 0, 3, 3, 2};
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Sampler(params, uint64_t(i)).Sample(logits, history, 2, &workspace).ok());
    ASSERT_EQ(logits, before);
  }
}

TEST(Sampler, TheSeedDecides) {
  std::vector<float> logits(100, 0.0f);
  SamplerWorkspace workspace(100);
  const auto draw = [&](uint64_t seed) {
    Sampler sampler({.top_p = 0.9f}, seed);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(*sampler.Sample(logits, {}, 0, &workspace));
    return tokens;
  };
  EXPECT_EQ(draw(7), draw(7));
  EXPECT_NE(draw(7), draw(8));
}

TEST(Logprobs, AreOfTheUnmodifiedDistribution) {
  const std::vector<float> logits = Logs({0.1, 0.6, 0.3});
  const GeneratedToken token = MakeGeneratedToken(logits, 2, 2, 3);
  EXPECT_EQ(token.token, 2);
  EXPECT_NEAR(token.logprob, std::log(0.3), 1e-6);
  ASSERT_EQ(token.top.size(), 2u);
  EXPECT_EQ(token.top[0].token, 1);
  EXPECT_NEAR(token.top[0].logprob, std::log(0.6), 1e-6);
  EXPECT_EQ(token.top[1].token, 2);
  EXPECT_TRUE(MakeGeneratedToken(logits, 0, 0, 3).top.empty());
}

TEST(Logprobs, TiesGoToTheLowestIdAndPaddingRowsAreLeftOut) {
  const GeneratedToken token = MakeGeneratedToken(std::vector<float>{5, 5, 7, 5, 9}, 0, 3, 4);
  ASSERT_EQ(token.top.size(), 3u);
  EXPECT_EQ(token.top[0].token, 2);
  EXPECT_EQ(token.top[1].token, 0);
  EXPECT_EQ(token.top[2].token, 1);
  EXPECT_EQ(MakeGeneratedToken(std::vector<float>{5, 5}, 0, 20, 2).top.size(), 2u);
}

TEST(SamplingParams, ValidateNamesTheField) {
  EXPECT_TRUE(SamplingParams().Validate(10).ok());
  const auto refuses = [](const SamplingParams& params, const char* field) {
    const Status status = params.Validate(10);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(status.message(), HasSubstr(field));
  };
  const float nan = std::nanf("");
  for (const float bad : {-0.1f, 101.0f, 1e-6f, nan}) refuses({.temperature = bad}, "temperature");
  refuses({.top_k = -1}, "top_k");
  for (const float bad : {0.0f, 1.1f, nan}) refuses({.top_p = bad}, "top_p");
  for (const float bad : {-0.1f, 1.1f, nan}) refuses({.min_p = bad}, "min_p");
  for (const float bad : {0.0f, 1.1f, nan}) refuses({.typical_p = bad}, "typical_p");
  for (const float bad : {0.0f, -1.0f, 101.0f, nan}) refuses({.repetition_penalty = bad}, "repetition_penalty");
  for (const float bad : {-101.0f, 101.0f, nan}) refuses({.presence_penalty = bad}, "presence_penalty");
  for (const float bad : {-101.0f, 101.0f, nan}) refuses({.frequency_penalty = bad}, "frequency_penalty");
  refuses({.penalty_window = -1}, "penalty_window");
  refuses({.logit_bias = {{10, 1.0f}}}, "logit_bias");
  refuses({.logit_bias = {{-1, 1.0f}}}, "logit_bias");
  refuses({.logit_bias = {{1, nan}}}, "logit_bias");
}

}  // namespace
}  // namespace inkstone

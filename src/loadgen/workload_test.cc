// Requests, arrivals, URLs and percentiles.
#include "loadgen/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <set>
#include <string>

#include "loadgen/draws.h"
#include "loadgen/sample_set.h"
#include "loadgen/url.h"
#include "loadgen/words.h"

namespace inkstone::testing {
namespace {

using ::testing::HasSubstr;
namespace json = boost::json;

json::value Body(const WorkloadOptions& options, uint64_t index) {
  auto workload = Workload::Create(options);
  EXPECT_TRUE(workload.ok()) << workload.status().message();
  return json::parse(workload->Body(index));
}

std::string Content(const json::value& body, size_t message = 0) {
  return std::string(body.at("messages").at(message).at("content").as_string());
}

int64_t Words(const std::string& text) { return std::count(text.begin(), text.end(), ' ') + 1; }

TEST(Words, AreDifferentAndPlain) {
  const std::set<std::string_view> words(kWords.begin(), kWords.end());
  EXPECT_EQ(words.size(), kWords.size());
  for (const auto word : words) {
    EXPECT_FALSE(word.empty());
    for (const char c : word) EXPECT_TRUE(c >= 'a' && c <= 'z') << word;
  }
}

TEST(Workload, AsksForAStreamWithUsage) {
  WorkloadOptions options;
  options.model = "m \"quoted\"";
  options.ignore_eos = true;
  const auto body = Body(options, 0);
  EXPECT_EQ(body.at("model").as_string(), "m \"quoted\"");
  EXPECT_TRUE(body.at("stream").as_bool());
  EXPECT_TRUE(body.at("stream_options").at("include_usage").as_bool());
  EXPECT_TRUE(body.at("ignore_eos").as_bool());
  EXPECT_EQ(body.at("temperature").as_int64(), 0);
  EXPECT_EQ(body.at("max_tokens").as_int64(), 128);
  EXPECT_EQ(Words(Content(body)), 512);
  const auto plain = Body({}, 0);
  EXPECT_FALSE(plain.as_object().contains("model"));
  EXPECT_FALSE(plain.as_object().contains("ignore_eos"));
}

TEST(Workload, DependsOnSeedAndNumberAlone) {
  WorkloadOptions options;
  options.prompt_tokens = {64, 2000};
  options.seed = 7;
  const auto first = Workload::Create(options);
  const auto second = Workload::Create(options);
  EXPECT_EQ(first->Body(3), second->Body(3));
  EXPECT_NE(first->Body(3), first->Body(4));
  options.seed = 8;
  EXPECT_NE(first->Body(3), Workload::Create(options)->Body(3));
  // The same on every platform.
  Draws draws(1, 0);
  EXPECT_EQ(GenerateWords(draws, 5), "new walk play more move");
}

TEST(Workload, SpreadsLengths) {
  WorkloadOptions options;
  options.prompt_tokens = {64, 2000};
  options.max_tokens = {1, 4};
  std::set<int64_t> limits;
  for (const Spread spread : {Spread::kUniform, Spread::kLogUniform}) {
    options.spread = spread;
    const auto workload = Workload::Create(options);
    std::vector<double> lengths;
    for (uint64_t i = 0; i < 400; ++i) {
      const auto body = json::parse(workload->Body(i));
      limits.insert(body.at("max_tokens").as_int64());
      lengths.push_back(static_cast<double>(Words(Content(body))));
    }
    std::sort(lengths.begin(), lengths.end());
    EXPECT_GE(lengths.front(), 64);
    EXPECT_LE(lengths.back(), 2000);
    EXPECT_NEAR(Quantile(lengths, 0.5), spread == Spread::kUniform ? 1032 : std::sqrt(64.0 * 2000), 100);
  }
  EXPECT_EQ(limits, (std::set<int64_t>{1, 2, 3, 4}));
}

TEST(Workload, SharesAPrefixOnlyWhenAsked) {
  WorkloadOptions options;
  std::set<std::string> starts;
  for (uint64_t i = 0; i < 50; ++i) starts.insert(Content(Body(options, i)).substr(0, 24));
  EXPECT_EQ(starts.size(), 50u);
  options.shared_prefix = 100;
  EXPECT_EQ(Words(Content(Body(options, 0))), 100);
  EXPECT_EQ(Content(Body(options, 0)), Content(Body(options, 1)));
  EXPECT_NE(Content(Body(options, 0), 1), Content(Body(options, 1), 1));
  options.endpoint = Endpoint::kCompletions;
  EXPECT_EQ(Words(std::string(Body(options, 0).at("prompt").as_string())), 612);
}

class PromptFile : public ::testing::Test {
 protected:
  Result<Workload> Load(const std::string& text, Endpoint endpoint = Endpoint::kChat) {
    std::ofstream(path_) << text;
    WorkloadOptions options;
    options.file = path_;
    options.endpoint = endpoint;
    return Workload::Create(options);
  }
  void TearDown() override { std::remove(path_.c_str()); }
  std::string path_ = ::testing::TempDir() + "prompts_" + std::to_string(::getpid()) + ".jsonl";
};

TEST_F(PromptFile, IsTakenInTurns) {
  const auto workload =
      Load("{\"prompt\":\"one\",\"max_tokens\":5}\n\n{\"messages\":[{\"role\":\"user\",\"content\":\"two\"}]}\n");
  ASSERT_TRUE(workload.ok()) << workload.status().message();
  const auto first = json::parse(workload->Body(2));
  EXPECT_EQ(Content(first), "one");
  EXPECT_EQ(first.at("max_tokens").as_int64(), 5);
  const auto second = json::parse(workload->Body(1));
  EXPECT_EQ(Content(second), "two");
  EXPECT_EQ(second.at("max_tokens").as_int64(), 128);
}

TEST_F(PromptFile, NamesTheLineThatIsWrong) {
  for (const char* bad : {"x", "[]", "{}", "{\"prompt\":7}", "{\"prompt\":\"a\",\"max_tokens\":0}"}) {
    const auto workload = Load(std::string("{\"prompt\":\"a\"}\n") + bad + "\n");
    EXPECT_THAT(workload.status().message(), HasSubstr("line 2: ")) << bad;
  }
  EXPECT_FALSE(Load("\n").ok());
  EXPECT_THAT(Load("{\"messages\":[]}", Endpoint::kCompletions).status().message(), HasSubstr("completions"));
}

TEST(Arrivals, ArePoissonAndRepeatable) {
  PoissonArrivals arrivals(50, 3);
  PoissonArrivals same(50, 3);
  PoissonArrivals other(50, 4);
  EXPECT_NE(arrivals.Next(), other.Next());
  double last = same.Next();
  double sum = 0;
  double squares = 0;
  constexpr int kCount = 20000;
  for (int i = 0; i < kCount; ++i) {
    const double next = arrivals.Next();
    EXPECT_EQ(next, same.Next());
    EXPECT_GE(next, last);
    sum += next - last;
    squares += (next - last) * (next - last);
    last = next;
  }
  const double mean = sum / kCount;
  EXPECT_NEAR(mean, 0.02, 0.0005);
  // Of an exponential gap, the deviation is the mean.
  EXPECT_NEAR(std::sqrt(squares / kCount - mean * mean), 0.02, 0.001);
}

TEST(Quantile, InterpolatesBetweenNeighbours) {
  const std::vector<double> one = {5};
  EXPECT_EQ(Quantile(one, 0), 5);
  EXPECT_EQ(Quantile(one, 0.99), 5);
  const std::vector<double> four = {1, 2, 4, 8};
  EXPECT_EQ(Quantile(four, 0), 1);
  EXPECT_EQ(Quantile(four, 1), 8);
  EXPECT_DOUBLE_EQ(Quantile(four, 0.5), 3);    // numpy.percentile([1, 2, 4, 8], 50)
  EXPECT_DOUBLE_EQ(Quantile(four, 0.9), 6.8);  // and 90
}

TEST(SampleSet, IsExactUpToItsLimit) {
  SampleSet samples(1000);
  EXPECT_EQ(samples.Summarize().count, 0);
  for (int i = 999; i >= 0; --i) samples.Add(i);
  const Summary s = samples.Summarize();
  EXPECT_TRUE(s.exact);
  EXPECT_EQ(s.count, 1000);
  EXPECT_DOUBLE_EQ(s.mean, 499.5);
  EXPECT_DOUBLE_EQ(s.p50, 499.5);
  EXPECT_DOUBLE_EQ(s.p99, 989.01);
  EXPECT_EQ(s.max, 999);
  EXPECT_EQ(s.curve.size(), static_cast<size_t>(SampleSet::kCurvePoints));
  EXPECT_EQ(s.curve.front(), 0);
  EXPECT_EQ(s.curve.back(), 999);
}

TEST(SampleSet, DrawsFairlyBeyondIt) {
  SampleSet samples(1000);
  for (int i = 0; i < 100000; ++i) samples.Add(i);
  const Summary s = samples.Summarize();
  EXPECT_FALSE(s.exact);
  EXPECT_EQ(s.count, 100000);
  EXPECT_DOUBLE_EQ(s.mean, 49999.5);
  EXPECT_EQ(s.max, 99999);
  EXPECT_NEAR(s.p50, 50000, 6000);  // four deviations of a median of 1000
  EXPECT_NEAR(s.p90, 90000, 4000);
}

TEST(ServerUrl, Parses) {
  const auto plain = ParseServerUrl("http://example.org");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->host, "example.org");
  EXPECT_EQ(plain->port, "80");
  EXPECT_EQ(TargetOf(*plain, Endpoint::kChat), "/v1/chat/completions");
  const auto full = ParseServerUrl("http://[::1]:8080/base/v1/");
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(full->host, "::1");
  EXPECT_EQ(full->port, "8080");
  EXPECT_EQ(full->authority, "[::1]:8080");
  EXPECT_EQ(TargetOf(*full, Endpoint::kCompletions), "/base/v1/completions");
  EXPECT_EQ(TargetOf(*ParseServerUrl("http://a/b"), Endpoint::kChat), "/b/v1/chat/completions");
}

TEST(ServerUrl, RefusesWhatItCannotReach) {
  EXPECT_EQ(ParseServerUrl("https://a").status().code(), StatusCode::kUnimplemented);
  for (const char* bad : {"", "a:80", "ftp://a", "http://", "http://:80", "http://a:0", "http://a:x", "http://a:70000",
                          "http://[::1", "http://a?b", "http://user@a", "http://a b", "http://a\r\nX: y"}) {
    EXPECT_EQ(ParseServerUrl(bad).status().code(), StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace inkstone::testing

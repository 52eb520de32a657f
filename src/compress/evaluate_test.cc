#include "compress/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "compress/compress.h"
#include "compress/test_util.h"

namespace inkstone {
namespace {

using testing::HasSubstr;

constexpr int64_t kWindow = 200;  // more than one chunk

std::vector<int32_t> Tokens(size_t count, int32_t step) {
  std::vector<int32_t> tokens(count);
  for (size_t i = 0; i < count; ++i) tokens[i] = static_cast<int32_t>((i * i + i * static_cast<size_t>(step)) % 500);
  return tokens;
}

class EvaluateTest : public testing::Test {
 protected:
  EvaluateTest()
      : source_(MakeModel(folder_, "qwen3-tiny")),
        runtime_(std::move(Runtime::Create({.threads = 2})).value()),
        windows_(std::move(EvaluationWindows::Cut({{"a", Tokens(450, 3)}, {"b", Tokens(90, 8)}}, kWindow, 0)).value()) {
  }

  LoadedModel Load(const std::string& path) {
    auto model = LoadModel(path, *runtime_, EvaluateLimits(kWindow));
    if (!model.ok()) throw std::runtime_error(model.status().message());
    return std::move(model).value();
  }

  LoadedModel Compressed(DType type) {
    CompressOptions options;
    options.source = source_;
    options.output = folder_ / "out.gguf";
    options.recipe.base = type;
    options.threads = 2;
    options.skip_tokenizer = true;
    const auto report = Compress(options, [](const Progress&) {});
    if (!report.ok()) throw std::runtime_error(report.status().message());
    return Load(options.output);
  }

  Result<EvaluationReport> Score(LoadedModel& model, Reference reference) {
    EvaluateOptions options;
    options.reference = reference;
    rows_ = 0;
    return Evaluate(windows_, model, *runtime_, options, [this](int64_t rows) { rows_ += rows; });
  }

  // A complete file of the source's logits.
  ReferenceLogits Recorded() {
    LoadedModel reference = Load(source_);
    auto logits = ReferenceLogits::CreateTemporary(folder_ / "",
                                                   ReferenceContent::Of(windows_, reference.model->config().vocab), {});
    if (!logits.ok()) throw std::runtime_error(logits.status().message());
    const Status status = RecordReference(windows_, reference, *runtime_, &*logits, [](int64_t) {});
    if (!status.ok()) throw std::runtime_error(status.message());
    return std::move(logits).value();
  }

  TempFolder folder_;
  std::string source_;
  std::unique_ptr<Runtime> runtime_;
  EvaluationWindows windows_;
  int64_t rows_ = 0;
};

TEST_F(EvaluateTest, AModelEqualsItself) {
  LoadedModel model = Load(source_);
  LoadedModel reference = Load(source_);
  const auto report = Score(model, &reference);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->all.scored, 2 * 199 + 89);
  EXPECT_EQ(rows_, report->all.scored);
  EXPECT_LT(report->all.divergence->kl.mean, 1e-14);
  EXPECT_EQ(report->all.divergence->top1_agreement.mean, 1);
  EXPECT_EQ(report->all.divergence->PerplexityRatio().mean, 1);
  const auto alone = Score(model, {});
  ASSERT_TRUE(alone.ok());
  EXPECT_FALSE(alone->all.divergence.has_value());
  EXPECT_NEAR(alone->all.loss.mean, report->all.loss.mean, 1e-13);
}

TEST_F(EvaluateTest, TheWholeIsTheWeightedMeanOfTheTexts) {
  LoadedModel model = Compressed(DType::kQ4_0);
  LoadedModel reference = Load(source_);
  const auto report = Score(model, &reference);
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->texts.size(), 2u);
  double kl = 0;
  double loss = 0;
  for (const Evaluation& e : report->texts) {
    kl += e.divergence->kl.mean * static_cast<double>(e.scored);
    loss += e.loss.mean * static_cast<double>(e.scored);
  }
  const double count = static_cast<double>(report->all.scored);
  EXPECT_NEAR(kl / count, report->all.divergence->kl.mean, 1e-14);
  EXPECT_NEAR(loss / count, report->all.loss.mean, 1e-12);
}

TEST_F(EvaluateTest, RecordedLogitsGiveTheSameResults) {
  const ReferenceLogits logits = Recorded();
  for (const DType type : {DType::kBF16, DType::kQ8_0, DType::kQ4_0}) {
    LoadedModel model = Compressed(type);
    LoadedModel reference = Load(source_);
    const auto direct = Score(model, &reference);
    const auto recorded = Score(model, &logits);
    ASSERT_TRUE(direct.ok() && recorded.ok());
    const Divergence& d = *direct->all.divergence;
    const Divergence& r = *recorded->all.divergence;
    EXPECT_NEAR(d.kl.mean, r.kl.mean, 1e-8);
    EXPECT_NEAR(d.p99, r.p99, 1e-6);
    EXPECT_EQ(d.top1_agreement.mean, r.top1_agreement.mean);
    EXPECT_NEAR(d.PerplexityRatio().mean, r.PerplexityRatio().mean, 1e-13);
  }
}

TEST_F(EvaluateTest, SaysWhatIsWrong) {
  SynthOptions other;
  other.output = folder_ / "other";
  other.shape = NamedShape("qwen3-tiny").value();
  other.shape.vocab = 640;
  ASSERT_TRUE(SynthQuietly(other).ok());
  LoadedModel model = Load(source_);
  LoadedModel larger = Load(other.output);
  EXPECT_THAT(Score(model, &larger).status().message(), HasSubstr("the reference has 640 logits, the model 512"));
  const ReferenceLogits logits = Recorded();
  EXPECT_THAT(Score(larger, &logits).status().message(), HasSubstr("the reference has 512 logits, the model 640"));
  windows_ = std::move(EvaluationWindows::Cut({{"b", {1, 2, 9999}}}, kWindow, 0)).value();
  EXPECT_THAT(Score(model, {}).status().message(), HasSubstr("b: expected tokens below 512, found 9999"));
}

TEST_F(EvaluateTest, LogitsThatAreNotFiniteAreAnError) {
  Poke(source_, "output_norm.weight", 3, std::nanf(""));
  LoadedModel model = Load(source_);
  EXPECT_THAT(Score(model, {}).status().message(), HasSubstr("expected finite logits"));
  EXPECT_THROW(Recorded(), std::runtime_error);
}

TEST_F(EvaluateTest, FactsIdentifyACheckpoint) {
  const auto facts = DescribeCheckpoint(MustOpen(source_));
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(facts->name, "source_qwen3-tiny");
  EXPECT_EQ(facts->file_bytes, std::filesystem::file_size(source_ + "/model.safetensors"));
  EXPECT_EQ(facts->bits_per_weight(), 16);
  EXPECT_EQ(DescribeCheckpoint(MustOpen(source_ + "/"))->name, "source_qwen3-tiny");
  Poke(source_, "blk.1.attn_q.weight", 0, 0.125f);
  EXPECT_NE(DescribeCheckpoint(MustOpen(source_))->fingerprint, facts->fingerprint);
}

}  // namespace
}  // namespace inkstone

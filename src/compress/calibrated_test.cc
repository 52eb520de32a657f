#include "compress/calibrated.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "compress/test_util.h"
#include "model/tensor_loader.h"

namespace inkstone {
namespace {

using testing::HasSubstr;

class CalibratedTest : public ::testing::Test {
 protected:
  // Little text: what is measured need not be good here.
  CalibratedOptions Options(const std::string& name) const {
    CalibratedOptions options;
    options.compress.source = std::string(INKSTONE_SOURCE_DIR) + "/tests/data/tiny-qwen3";
    options.compress.output = folder_ / name;
    options.compress.threads = 2;
    options.text =
        ReadFile(std::string(INKSTONE_SOURCE_DIR) + "/src/compress/calibration/english_manual.txt").substr(0, 1200);
    return options;
  }
  static Result<CalibratedReport> Run(const CalibratedOptions& options) {
    return CompressCalibrated(options, [](const StageProgress&) {});
  }

  TempFolder folder_;
};

TEST_F(CalibratedTest, FileHasTheSizeAskedFor) {
  CalibratedOptions options = Options("out.gguf");
  options.size = 4'400'000;
  options.compress.recipe.pins = {{"blk\\.0\\.attn_v", DType::kQ8_0}};
  const auto report = Run(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_LE(report->file.file_bytes, *options.size);
  EXPECT_GE(static_cast<double>(report->file.file_bytes), 0.995 * static_cast<double>(*options.size));
  EXPECT_EQ(std::filesystem::file_size(options.compress.output), report->file.file_bytes);
  EXPECT_GT(*report->predicted_divergence, 0);
  const Checkpoint made = MustOpen(options.compress.output);
  EXPECT_EQ(made.Find("blk.0.attn_v.weight")->dtype, DType::kQ8_0);
  EXPECT_EQ(ReadSensitivity(made.metadata())->tensors, report->sensitivity.tensors);
}

TEST_F(CalibratedTest, ThreadsChangeNoByte) {
  CalibratedOptions one = Options("one.gguf"), two = Options("two.gguf");
  one.compress.threads = 1;
  one.bits_per_weight = two.bits_per_weight = 4.5;
  ASSERT_TRUE(Run(one).ok());
  ASSERT_TRUE(Run(two).ok());
  EXPECT_TRUE(ReadFile(one.compress.output) == ReadFile(two.compress.output));
}

TEST_F(CalibratedTest, RemovedLayersAreNotInTheFile) {
  CalibratedOptions options = Options("pruned.gguf");
  options.compress.recipe.base = DType::kF16;
  options.prune = PruneOptions{1, 1e9};
  const auto report = Run(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_EQ(report->prune->removed.size(), 1u);
  const int removed = report->prune->removed[0];
  const Checkpoint source = MustOpen(options.compress.source), made = MustOpen(options.compress.output);
  const int64_t layers = *source.metadata().GetInt("qwen3.block_count");
  EXPECT_EQ(*made.metadata().GetInt("qwen3.block_count"), layers - 1);
  for (int layer = 0; layer < layers - 1; ++layer) {
    const std::string from = BlockTensor(layer < removed ? layer : layer + 1, "attn_norm.weight");
    EXPECT_EQ(Values(made, BlockTensor(layer, "attn_norm.weight")), Values(source, from)) << layer;
  }
  auto runtime = Runtime::Create({1, ""});
  EXPECT_TRUE(LoadModel(options.compress.output, **runtime, ModelLimits()).ok());
}

TEST_F(CalibratedTest, WhatCannotBeDoneIsSaid) {
  CalibratedOptions small = Options("out.gguf");
  small.size = 1'000'000;
  EXPECT_EQ(Run(small).status().code(), StatusCode::kResourceExhausted);
  CalibratedOptions brief = Options("out.gguf");
  brief.text = "Too short.";
  brief.text_name = "note.txt";
  EXPECT_THAT(Run(brief).status().message(), HasSubstr("note.txt: expected at least 64 tokens"));
  EXPECT_FALSE(std::filesystem::exists(small.compress.output));
}

}  // namespace
}  // namespace inkstone

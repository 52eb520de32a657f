#include "compress/calibration.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <utility>

#include "compress/prune.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

class CalibrationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Checkpoint::Open(std::string(INKSTONE_SOURCE_DIR) + "/tests/data/tiny-qwen3");
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    checkpoint_ = std::make_unique<Checkpoint>(std::move(opened).value());
    std::ifstream in(std::string(INKSTONE_SOURCE_DIR) + "/src/compress/calibration/english_manual.txt");
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const auto tokenizer = Tokenizer::Load(*checkpoint_);
    ASSERT_TRUE(tokenizer.ok());
    windows_.tokens = (*tokenizer)->Encode(text, SpecialText::kPlain);
    windows_.window = 64;
    windows_.tokens.resize(4 * 64);
  }

  Calibration Run(int threads, const CalibrationOptions& options) {
    auto runtime = Runtime::Create({threads, ""});
    auto pass = LayerPass::Create(*checkpoint_, **runtime, windows_.window);
    EXPECT_TRUE(pass.ok()) << pass.status().message();
    int64_t last = 0;
    auto result = Calibrate(*checkpoint_, **pass, **runtime, windows_, options, [&](int64_t done, int64_t total) {
      EXPECT_GT(done, std::exchange(last, done));
      EXPECT_LE(done, total);
    });
    EXPECT_TRUE(result.ok()) << result.status().message();
    return std::move(result).value();
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  TextWindows windows_;
};

TEST_F(CalibrationTest, EveryMatrixIsSeen) {
  const Calibration c = Run(2, {});
  for (const TensorInfo& tensor : checkpoint_->tensors()) {
    if (tensor.shape.size() < 2) continue;
    const auto found = c.importance.find(tensor.name);
    ASSERT_NE(found, c.importance.end()) << tensor.name;
    ASSERT_EQ(static_cast<int64_t>(found->second.mean_square.size()), tensor.cols()) << tensor.name;
    for (const float v : found->second.mean_square) ASSERT_TRUE(std::isfinite(v) && v >= 0);
  }
  // Query, key and value see the same.
  EXPECT_EQ(c.importance.at("blk.0.attn_q.weight").mean_square, c.importance.at("blk.0.attn_v.weight").mean_square);
  EXPECT_EQ(c.importance.at("blk.0.attn_q.weight").tokens, 4 * 64);
  for (const double influence : c.influence) {
    EXPECT_GT(influence, 0);
    EXPECT_LT(influence, 2);
  }
}

TEST_F(CalibrationTest, SensitivityIsPositiveAndFallsWithBits) {
  CalibrationOptions options;
  options.sample = {{windows_.tokens.begin(), windows_.tokens.begin() + 128}, 64};
  options.types = {DType::kQ4_0, DType::kQ8_0};
  const Calibration c = Run(2, options);
  ASSERT_FALSE(c.sensitivity.tensors.empty());
  for (size_t t = 0; t < c.sensitivity.tensors.size(); ++t) {
    EXPECT_GT(c.sensitivity.at(t, 0), 0) << c.sensitivity.tensors[t];
    EXPECT_LT(c.sensitivity.at(t, 1), 0.1f * c.sensitivity.at(t, 0)) << c.sensitivity.tensors[t];
  }
  EXPECT_EQ(c.sensitivity.tokens, 2 * 64);
}

TEST_F(CalibrationTest, ThreadsChangeNothing) {
  CalibrationOptions options;
  options.sample = {{windows_.tokens.begin(), windows_.tokens.begin() + 128}, 64};
  options.types = {DType::kQ4_0};
  const Calibration one = Run(1, options), two = Run(2, options);
  EXPECT_EQ(one.sensitivity.divergence, two.sensitivity.divergence);
  EXPECT_EQ(one.influence, two.influence);
  EXPECT_EQ(one.importance.at("blk.1.ffn_down.weight").mean_square,
            two.importance.at("blk.1.ffn_down.weight").mean_square);
}

TEST_F(CalibrationTest, LayersGoInOrderOfTheirInfluenceWithinTheLimit) {
  auto runtime = Runtime::Create({2, ""});
  auto pass = LayerPass::Create(*checkpoint_, **runtime, windows_.window);
  const int layers = (*pass)->config().layers;
  std::vector<double> influence(static_cast<size_t>(layers), 1.0);
  influence[1] = 0.1;
  const auto plan = [&](int count, double limit) {
    return PlanPrune(**pass, **runtime, windows_, influence, {count, limit});
  };
  const auto one = plan(1, 100);
  ASSERT_TRUE(one.ok()) << one.status().message();
  EXPECT_EQ(one->removed, std::vector<int>{1});
  EXPECT_GT(one->loss(), 0);
  EXPECT_TRUE(plan(-1, one->loss() * 0.5)->removed.empty());
  EXPECT_EQ(plan(-1, one->loss() * 1.0001)->removed.front(), 1);
  const Status refused = plan(1, one->loss() * 0.5).status();
  EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("above the limit"), std::string::npos) << refused.message();
  EXPECT_EQ(plan(layers, 100).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace inkstone

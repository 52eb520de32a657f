#include "compress/synth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "compress/test_util.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

using testing::HasSubstr;

SynthOptions Tiny(const TempFolder& folder, const std::string& shape = "qwen3-tiny") {
  SynthOptions options;
  options.output = folder / "model";
  options.shape = NamedShape(shape).value();
  options.threads = 2;
  return options;
}

class EveryArchitecture : public testing::TestWithParam<const char*> {};

TEST_P(EveryArchitecture, WritesAFolderThatOpens) {
  const TempFolder folder;
  const SynthOptions options = Tiny(folder, GetParam());
  const SynthShape& shape = options.shape;
  uint64_t done = 0;
  uint64_t total = 0;
  const Status status = Synth(options, [&](const Progress& p) {
    EXPECT_GT(p.bytes_done, done);
    done = p.bytes_done;
    total = p.bytes_total;
  });
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(done, total);
  const Checkpoint checkpoint = MustOpen(options.output);
  EXPECT_EQ(checkpoint.tensor_bytes(), total);
  EXPECT_EQ(checkpoint.metadata().GetString("general.architecture").value(), shape.architecture);
  EXPECT_EQ(checkpoint.metadata().GetInt(shape.architecture + ".attention.key_length").value(), shape.head_dim);
  EXPECT_EQ(checkpoint.Find("output.weight") == nullptr, shape.tied);
  EXPECT_EQ(checkpoint.Find("blk.0.attn_q.bias") != nullptr, shape.architecture == "qwen2");
  EXPECT_EQ(checkpoint.Find("blk.2.attn_q_norm.weight") != nullptr, shape.architecture == "qwen3");
  EXPECT_EQ(checkpoint.Find("blk.1.attn_k.weight")->shape,
            (std::vector<int64_t>{shape.kv_heads * shape.head_dim, shape.hidden}));
  const auto tokenizer = Tokenizer::Load(checkpoint);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const std::string text = "Ink, \xe7\xa0\x9a 42\n";
  const std::vector<int32_t> tokens = tokenizer.value()->Encode(text, SpecialText::kPlain);
  EXPECT_EQ(tokens.size(), text.size());  // one for each byte
  EXPECT_EQ(tokenizer.value()->Decode(tokens, false), text);
  EXPECT_EQ(tokenizer.value()->eos_token(), 258);
  EXPECT_THAT(tokenizer.value()->chat_template(), HasSubstr("<|im_start|>assistant"));
}

INSTANTIATE_TEST_SUITE_P(Synth, EveryArchitecture, testing::Values("qwen3-tiny", "qwen2-tiny", "llama-tiny"),
                         [](const auto& test) {
                           std::string name = test.param;
                           return name.substr(0, name.find('-'));
                         });

TEST(Synth, WeightsLookLikeATrainedModels) {
  const TempFolder folder;
  SynthOptions options = Tiny(folder);
  options.type = DType::kF32;
  ASSERT_TRUE(SynthQuietly(options).ok());
  const Checkpoint checkpoint = MustOpen(options.output);
  const auto moments = [&](const std::string& name) {
    const std::vector<float> values = Values(checkpoint, name);
    double sum = 0, squares = 0;
    for (float v : values) sum += v;
    const double mean = sum / static_cast<double>(values.size());
    for (float v : values) squares += (v - mean) * (v - mean);
    return std::pair(mean, std::sqrt(squares / static_cast<double>(values.size())));
  };
  const auto [mean, deviation] = moments("token_embd.weight");
  EXPECT_NEAR(mean, 0.0, 5e-4);
  EXPECT_NEAR(deviation, 0.02, 5e-4);
  const auto [norm_mean, norm_deviation] = moments("output_norm.weight");
  EXPECT_NEAR(norm_mean, 1.0, 0.01);
  EXPECT_NEAR(norm_deviation, 0.02, 0.01);
  EXPECT_NE(Values(checkpoint, "blk.0.ffn_up.weight"), Values(checkpoint, "blk.1.ffn_up.weight"));
}

TEST(Synth, DependsOnTheSeedAndNotOnThreads) {
  const TempFolder folder;
  SynthOptions options = Tiny(folder);
  std::vector<std::string> files;
  for (const auto& [seed, threads] : {std::pair{7, 1}, std::pair{7, 3}, std::pair{8, 1}}) {
    options.output = folder / ("model" + std::to_string(files.size()));
    options.seed = static_cast<uint64_t>(seed);
    options.threads = threads;
    ASSERT_TRUE(SynthQuietly(options).ok());
    files.push_back(ReadFile(options.output + "/model.safetensors"));
  }
  EXPECT_FALSE(files[0].empty());
  EXPECT_TRUE(files[0] == files[1]);
  EXPECT_FALSE(files[0] == files[2]);
}

TEST(Synth, ShardsHoldTheSameWeightsAsOneFile) {
  const TempFolder folder;
  SynthOptions options = Tiny(folder);
  ASSERT_TRUE(SynthQuietly(options).ok());
  SynthOptions sharded = options;
  sharded.output = folder / "sharded";
  sharded.max_shard_bytes = 300'000;
  ASSERT_TRUE(SynthQuietly(sharded).ok());
  EXPECT_TRUE(std::filesystem::exists(sharded.output + "/model.safetensors.index.json"));
  EXPECT_FALSE(std::filesystem::exists(sharded.output + "/model.safetensors"));
  const Checkpoint one = MustOpen(options.output);
  const Checkpoint many = MustOpen(sharded.output);
  EXPECT_GT(many.files().size(), 3u);
  ASSERT_EQ(one.tensors().size(), many.tensors().size());
  for (const TensorInfo& tensor : one.tensors()) {
    EXPECT_TRUE(Values(one, tensor.name) == Values(many, tensor.name)) << tensor.name;
  }
}

TEST(Synth, TakesRopeScalingAndOddShapes) {
  const TempFolder folder;
  SynthOptions options = Tiny(folder, "llama-tiny");
  options.shape.hidden = 45;
  options.shape.vocab = 301;
  options.shape.rope_scaling_json = R"({"rope_type":"linear","factor":2.0})";
  const Status status = SynthQuietly(options);
  ASSERT_TRUE(status.ok()) << status.message();
  const Checkpoint checkpoint = MustOpen(options.output);
  EXPECT_EQ(checkpoint.metadata().GetFloat("llama.rope.scaling.factor").value(), 2.0);
  EXPECT_EQ(checkpoint.Find("token_embd.weight")->shape, (std::vector<int64_t>{301, 45}));
}

TEST(Synth, CopiesATokenizer) {
  const TempFolder folder;
  SynthOptions options = Tiny(folder);
  options.tokenizer_from = std::string(INKSTONE_SOURCE_DIR) + "/tests/data/tiny-qwen3";
  Status status = SynthQuietly(options);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("6144 tokens, expected at most the model's vocabulary of 512"));
  options.shape.vocab = 6200;
  status = SynthQuietly(options);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(ReadFile(options.output + "/tokenizer.json"), ReadFile(options.tokenizer_from + "/tokenizer.json"));
  EXPECT_THAT(ReadFile(options.output + "/config.json"), HasSubstr("\"eos_token_id\":6137"));
}

TEST(Synth, RefusesWhatMakesNoModel) {
  const TempFolder folder;
  const auto message = [&](auto change) {
    SynthOptions options = Tiny(folder);
    change(options);
    const Status status = SynthQuietly(options);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return status.message();
  };
  EXPECT_THAT(message([](SynthOptions& o) { o.shape.architecture = "gpt2"; }), HasSubstr("gpt2"));
  EXPECT_THAT(message([](SynthOptions& o) { o.shape.kv_heads = 3; }), HasSubstr("kv_heads to divide"));
  EXPECT_THAT(message([](SynthOptions& o) { o.shape.head_dim = 33; }), HasSubstr("even head_dim"));
  EXPECT_THAT(message([](SynthOptions& o) { o.shape.hidden = 0; }), HasSubstr("hidden: expected 1"));
  EXPECT_THAT(message([](SynthOptions& o) { o.shape.layers = 5000; }), HasSubstr("layers"));
  EXPECT_THAT(message([](SynthOptions& o) { o.shape.vocab = 258; }), HasSubstr("at least 259"));
  EXPECT_THAT(message([](SynthOptions& o) { o.shape.rope_theta = std::nan(""); }), HasSubstr("rope_theta"));
  EXPECT_THAT(message([](SynthOptions& o) { o.shape.rope_scaling_json = "[1]"; }), HasSubstr("a JSON object"));
  EXPECT_THAT(message([](SynthOptions& o) { o.type = DType::kQ8_0; }), HasSubstr("Q8_0"));
  EXPECT_FALSE(std::filesystem::exists(folder / "model"));
}

TEST(Synth, ReplacesAnEarlierModelOnlyWhenAllowed) {
  const TempFolder folder;
  SynthOptions options = Tiny(folder);
  options.max_shard_bytes = 300'000;
  ASSERT_TRUE(SynthQuietly(options).ok());
  WriteFile(options.output + "/notes.txt", "mine");
  options.max_shard_bytes = 1'000'000'000;
  EXPECT_THAT(SynthQuietly(options).message(), HasSubstr("not empty"));
  options.overwrite = true;
  ASSERT_TRUE(SynthQuietly(options).ok());
  EXPECT_FALSE(std::filesystem::exists(options.output + "/model.safetensors.index.json"));
  EXPECT_EQ(MustOpen(options.output).files().size(), 1u);
  EXPECT_EQ(ReadFile(options.output + "/notes.txt"), "mine");
}

TEST(Synth, KnowsItsShapesByName) {
  for (std::string_view name : ShapeNames()) EXPECT_TRUE(NamedShape(name).ok()) << name;
  const Result<SynthShape> unknown = NamedShape("qwen9");
  EXPECT_EQ(unknown.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(unknown.status().message(), HasSubstr("qwen3-4b"));
}

}  // namespace
}  // namespace inkstone

#include "formats/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "core/half.h"

namespace inkstone {
namespace {

using ::testing::HasSubstr;

const std::string kTiny = INKSTONE_SOURCE_DIR "/tests/data/tiny-qwen3";

TEST(CheckpointTest, OpensHuggingFaceFolder) {
  const Result<Checkpoint> opened = Checkpoint::Open(kTiny);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Checkpoint& checkpoint = *opened;
  EXPECT_EQ(checkpoint.kind(), CheckpointKind::kHuggingFace);
  EXPECT_EQ(checkpoint.path(), kTiny);
  ASSERT_EQ(checkpoint.tensors().size(), 68u);
  EXPECT_EQ(checkpoint.tensors().front().name, "token_embd.weight");
  EXPECT_EQ(checkpoint.tensors()[1].name, "blk.0.attn_norm.weight");
  EXPECT_EQ(checkpoint.tensors().back().name, "output_norm.weight");

  const TensorInfo* embedding = checkpoint.Find("token_embd.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->shape, (std::vector<int64_t>{6144, 256}));
  EXPECT_EQ(embedding->dtype, DType::kBF16);
  EXPECT_EQ(checkpoint.Find("blk.5.attn_q.weight")->shape, (std::vector<int64_t>{384, 256}));
  EXPECT_EQ(checkpoint.Find("blk.5.attn_k.weight")->shape, (std::vector<int64_t>{128, 256}));
  EXPECT_EQ(checkpoint.Find("blk.5.attn_output.weight")->shape, (std::vector<int64_t>{256, 384}));
  EXPECT_EQ(checkpoint.Find("blk.5.attn_k_norm.weight")->shape, (std::vector<int64_t>{64}));
  EXPECT_EQ(checkpoint.Find("blk.5.ffn_down.weight")->shape, (std::vector<int64_t>{256, 768}));
  EXPECT_EQ(checkpoint.Find("output.weight"), nullptr);  // tied

  uint64_t sum = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    EXPECT_EQ(checkpoint.Data(tensor).size(), tensor.bytes);
    sum += tensor.bytes;
  }
  EXPECT_EQ(checkpoint.tensor_bytes(), sum);
  // A trained norm's weights are finite and not zero: the bytes are the right ones.
  const auto norm = checkpoint.Data(*checkpoint.Find("output_norm.weight"));
  for (size_t i = 0; i < norm.size(); i += 2) {
    uint16_t bits;
    std::memcpy(&bits, norm.data() + i, 2);
    const float value = BF16ToF32(bits);
    EXPECT_TRUE(std::isfinite(value) && std::abs(value) > 1e-3f && std::abs(value) < 100.0f) << value;
  }
}

TEST(CheckpointTest, TranslatesTheConfig) {
  const Result<Checkpoint> opened = Checkpoint::Open(kTiny + "/");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Metadata& metadata = opened->metadata();
  EXPECT_EQ(*metadata.GetString("general.architecture"), "qwen3");
  EXPECT_EQ(*metadata.GetInt("qwen3.block_count"), 6);
  EXPECT_EQ(*metadata.GetInt("qwen3.context_length"), 2048);
  EXPECT_EQ(*metadata.GetInt("qwen3.embedding_length"), 256);
  EXPECT_EQ(*metadata.GetInt("qwen3.feed_forward_length"), 768);
  EXPECT_EQ(*metadata.GetInt("qwen3.attention.head_count"), 6);
  EXPECT_EQ(*metadata.GetInt("qwen3.attention.head_count_kv"), 2);
  EXPECT_EQ(*metadata.GetInt("qwen3.attention.key_length"), 64);
  EXPECT_EQ(*metadata.GetInt("qwen3.attention.value_length"), 64);
  EXPECT_EQ(*metadata.GetInt("qwen3.vocab_size"), 6144);
  EXPECT_FLOAT_EQ(static_cast<float>(*metadata.GetFloat("qwen3.rope.freq_base")), 1e6f);
  EXPECT_FLOAT_EQ(static_cast<float>(*metadata.GetFloat("qwen3.attention.layer_norm_rms_epsilon")), 1e-6f);
  EXPECT_FLOAT_EQ(static_cast<float>(*metadata.GetFloat("general.sampling.temp")), 0.7f);
  EXPECT_EQ(*metadata.GetInt("general.sampling.top_k"), 20);
  EXPECT_EQ(metadata.Find("qwen3.rope.scaling.type"), nullptr);
}

TEST(CheckpointTest, SaysWhatIsMissing) {
  const Status none = Checkpoint::Open("/nonexistent/model").status();
  EXPECT_EQ(none.code(), StatusCode::kNotFound);
  EXPECT_THAT(none.message(), HasSubstr("/nonexistent/model: no such file or folder; expected a GGUF file"));

  const Status device = Checkpoint::Open("/dev/null").status();
  EXPECT_EQ(device.code(), StatusCode::kInvalidArgument);

  const Status single = Checkpoint::Open(kTiny + "/model.safetensors").status();
  EXPECT_EQ(single.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(single.message(), HasSubstr("name the folder"));

  const Status text = Checkpoint::Open(kTiny + "/config.json").status();
  EXPECT_EQ(text.code(), StatusCode::kDataLoss);
  EXPECT_THAT(text.message(), HasSubstr("expected \"GGUF\""));

  const Status tensor = Checkpoint::Open(kTiny)->Require("blk.6.attn_q.weight").status();
  EXPECT_EQ(tensor.code(), StatusCode::kNotFound);
  EXPECT_THAT(tensor.message(), HasSubstr("blk.6.attn_q.weight"));
}

TEST(CheckpointTest, MovesKeepNamesAndBytes) {
  Checkpoint first = std::move(Checkpoint::Open(kTiny)).value();
  const std::byte* data = first.Data(*first.Find("output_norm.weight")).data();
  const Checkpoint second = std::move(first);
  ASSERT_NE(second.Find("output_norm.weight"), nullptr);
  EXPECT_EQ(second.Data(*second.Find("output_norm.weight")).data(), data);
}

}  // namespace
}  // namespace inkstone

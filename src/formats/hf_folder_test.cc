#include "formats/hf_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "formats/safetensors.h"

namespace inkstone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

// A config with the fields every model has; `more` is put at its end, after a comma.
std::string Config(const std::string& type, const std::string& more) {
  return R"({"model_type":")" + type + R"(","hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,)" +
         R"("intermediate_size":96,"max_position_embeddings":128,"vocab_size":10)" + (more.empty() ? "" : "," + more) +
         "}";
}

Result<HfConfig> Parse(const std::string& type, const std::string& more) {
  const std::string text = Config(type, more);
  return ParseHfConfig({.config = text, .generation = ""}, "dir", "name");
}

TEST(HfConfigTest, FillsInDefaults) {
  const Result<HfConfig> llama = Parse("llama", "");
  ASSERT_TRUE(llama.ok()) << llama.status().message();
  const Metadata& m = llama->metadata;
  EXPECT_EQ(m.source(), "dir/config.json");
  EXPECT_FALSE(llama->tied_output);
  EXPECT_EQ(llama->layers, 2);
  EXPECT_EQ(*m.GetString("general.name"), "name");
  EXPECT_EQ(*m.GetInt("llama.attention.head_count_kv"), 4);
  EXPECT_EQ(*m.GetInt("llama.attention.key_length"), 16);
  EXPECT_EQ(*m.GetInt("llama.rope.dimension_count"), 16);
  EXPECT_EQ(*m.GetFloat("llama.rope.freq_base"), 10000.0);
  EXPECT_EQ(*Parse("qwen3", "")->metadata.GetInt("qwen3.attention.key_length"), 128);
  EXPECT_EQ(*Parse("qwen2", "\"head_dim\":null")->metadata.GetInt("qwen2.attention.key_length"), 16);
}

TEST(HfConfigTest, ReadsRopeOfBothGenerations) {
  const auto old_style = Parse("qwen2", R"("rope_theta":5000000,"rope_scaling":{"type":"linear","factor":4})");
  const auto new_style = Parse("qwen2", R"("rope_parameters":{"rope_type":"linear","factor":4.0,"rope_theta":5e6})");
  for (const auto* config : {&old_style, &new_style}) {
    ASSERT_TRUE(config->ok()) << config->status().message();
    const Metadata& m = (*config)->metadata;
    EXPECT_EQ(*m.GetFloat("qwen2.rope.freq_base"), 5e6);
    EXPECT_EQ(*m.GetString("qwen2.rope.scaling.type"), "linear");
    EXPECT_EQ(*m.GetFloat("qwen2.rope.scaling.factor"), 4.0);
    EXPECT_EQ(*m.GetInt("qwen2.rope.scaling.original_context_length"), 128);
  }
  const auto plain = Parse("qwen3", R"("rope_parameters":{"rope_type":"default","rope_theta":1000000})");
  EXPECT_EQ(plain->metadata.Find("qwen3.rope.scaling.type"), nullptr);
  EXPECT_EQ(*plain->metadata.GetFloat("qwen3.rope.freq_base"), 1e6);
}

TEST(HfConfigTest, ReadsYarn) {
  const auto usual =
      Parse("qwen3",
            R"("rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32,"beta_fast":16})");
  ASSERT_TRUE(usual.ok()) << usual.status().message();
  EXPECT_EQ(*usual->metadata.GetString("qwen3.rope.scaling.type"), "yarn");
  EXPECT_EQ(*usual->metadata.GetInt("qwen3.rope.scaling.original_context_length"), 32);
  EXPECT_EQ(*usual->metadata.GetFloat("qwen3.rope.scaling.yarn_beta_fast"), 16.0);
  EXPECT_EQ(usual->metadata.Find("qwen3.rope.scaling.attn_factor"), nullptr);
  // HF's factor is the whole one, GGUF's multiplies 1 + 0.1 ln(4) = 1.138629.
  const auto given = Parse("qwen3", R"("rope_scaling":{"type":"yarn","factor":4.0,"attention_factor":1.0})");
  EXPECT_NEAR(*given->metadata.GetFloat("qwen3.rope.scaling.attn_factor"), 1.0 / 1.138629, 1e-6);
}

TEST(HfConfigTest, KeepsLlama3ScalingAsNumbers) {
  const auto config = Parse("llama", R"("rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
                                        "high_freq_factor":4.0,"original_max_position_embeddings":64})");
  ASSERT_TRUE(config.ok()) << config.status().message();
  const Metadata& m = config->metadata;
  EXPECT_EQ(*m.GetFloat("inkstone.rope.llama3.factor"), 8.0);
  EXPECT_EQ(*m.GetFloat("inkstone.rope.llama3.low_freq_factor"), 1.0);
  EXPECT_EQ(*m.GetFloat("inkstone.rope.llama3.high_freq_factor"), 4.0);
  EXPECT_EQ(*m.GetInt("inkstone.rope.llama3.original_context_length"), 64);
  EXPECT_EQ(m.Find("llama.rope.scaling.type"), nullptr);
}

TEST(HfConfigTest, SlidingWindowsThatReachNoLayerAreFine) {
  EXPECT_TRUE(Parse("qwen2", R"("use_sliding_window":false,"sliding_window":4096,"max_window_layers":1)").ok());
  EXPECT_TRUE(Parse("qwen2", R"("use_sliding_window":true,"sliding_window":4096,"max_window_layers":2)").ok());
  EXPECT_TRUE(Parse("qwen3", R"("layer_types":["full_attention","full_attention"])").ok());
  const Status one =
      Parse("qwen2", R"("use_sliding_window":true,"sliding_window":4096,"max_window_layers":1)").status();
  EXPECT_EQ(one.code(), StatusCode::kUnimplemented);
}

TEST(HfConfigTest, TakesSamplingUnlessGreedy) {
  const std::string config = Config("qwen3", "");
  const auto sampled = ParseHfConfig({config, R"({"temperature":0.6,"top_k":20,"eos_token_id":[1,2]})"}, "d", "n");
  ASSERT_TRUE(sampled.ok()) << sampled.status().message();
  EXPECT_NEAR(*sampled->metadata.GetFloat("general.sampling.temp"), 0.6, 1e-7);
  EXPECT_EQ(*sampled->metadata.GetInt("general.sampling.top_k"), 20);
  const auto greedy = ParseHfConfig({config, R"({"do_sample":false,"temperature":0.6})"}, "d", "n");
  EXPECT_EQ(greedy->metadata.Find("general.sampling.temp"), nullptr);
}

TEST(PlaceHfTensorTest, TranslatesNames) {
  EXPECT_EQ(PlaceHfTensor("model.embed_tokens.weight")->name, "token_embd.weight");
  EXPECT_EQ(PlaceHfTensor("model.norm.weight")->name, "output_norm.weight");
  EXPECT_EQ(PlaceHfTensor("lm_head.weight")->name, "output.weight");
  EXPECT_EQ(PlaceHfTensor("model.layers.35.self_attn.q_proj.weight")->name, "blk.35.attn_q.weight");
  EXPECT_EQ(PlaceHfTensor("model.layers.0.self_attn.v_proj.bias")->name, "blk.0.attn_v.bias");
  EXPECT_EQ(PlaceHfTensor("model.layers.0.self_attn.o_proj.weight")->name, "blk.0.attn_output.weight");
  EXPECT_EQ(PlaceHfTensor("model.layers.0.self_attn.k_norm.weight")->name, "blk.0.attn_k_norm.weight");
  EXPECT_EQ(PlaceHfTensor("model.layers.0.mlp.down_proj.weight")->name, "blk.0.ffn_down.weight");
  EXPECT_EQ(PlaceHfTensor("model.layers.0.input_layernorm.weight")->name, "blk.0.attn_norm.weight");
  EXPECT_EQ(PlaceHfTensor("model.layers.0.post_attention_layernorm.weight")->name, "blk.0.ffn_norm.weight");
  for (const char* name :
       {"", "model.layers.", "model.layers.0", "model.layers.0.", "model.layers.-1.mlp.up_proj.weight",
        "model.layers.+1.mlp.up_proj.weight", "model.layers.01.mlp.up_proj.weight", "model.layers.0.mlp.up_proj",
        "model.layers.0.mlp.up_proj.bias", "model.layers.0.mlp.up_proj.weight.weight", "model.norm.bias",
        "norm.weight"}) {
    EXPECT_FALSE(PlaceHfTensor(name).has_value()) << name;
  }
}

class HfFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / ("inkstone-hf-" + std::string(info->name()) + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  // Each tensor is four F32 values.
  void WriteTensors(const std::string& name, const std::vector<std::string>& tensors) const {
    std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
    for (size_t i = 0; i < tensors.size(); ++i) {
      header += ",\"" + tensors[i] + R"(":{"dtype":"F32","shape":[2,2],"data_offsets":[)" + std::to_string(16 * i) +
                "," + std::to_string(16 * i + 16) + "]}";
    }
    header += "}  ";
    const uint64_t length = header.size();
    Write(name,
          std::string(reinterpret_cast<const char*>(&length), 8) + header + std::string(16 * tensors.size(), 'x'));
  }
  Result<Checkpoint> Open() const { return Checkpoint::Open(folder_.string()); }

  fs::path folder_;
};

std::vector<std::string> Names(const Checkpoint& checkpoint) {
  std::vector<std::string> names;
  for (const TensorInfo& tensor : checkpoint.tensors()) names.push_back(tensor.name);
  return names;
}

TEST_F(HfFolderTest, OrdersTensorsAndDropsWhatIsNotNeeded) {
  Write("config.json", Config("llama", R"("tie_word_embeddings":true)"));
  WriteTensors("model.safetensors", {"lm_head.weight", "model.norm.weight", "model.layers.1.mlp.up_proj.weight",
                                     "model.layers.0.self_attn.rotary_emb.inv_freq",
                                     "model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.q_proj.weight",
                                     "model.layers.0.input_layernorm.weight", "model.embed_tokens.weight"});
  const Result<Checkpoint> opened = Open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_THAT(Names(*opened), ElementsAre("token_embd.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.weight",
                                          "blk.0.attn_q.bias", "blk.1.ffn_up.weight", "output_norm.weight"));
}

TEST_F(HfFolderTest, UntiedModelsKeepTheirOutput) {
  Write("config.json", Config("qwen2", ""));
  WriteTensors("model.safetensors", {"lm_head.weight", "model.embed_tokens.weight"});
  const Result<Checkpoint> opened = Open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_THAT(Names(*opened), ElementsAre("token_embd.weight", "output.weight"));
}

TEST_F(HfFolderTest, JoinsShards) {
  Write("config.json", Config("qwen2", R"("tie_word_embeddings":true)"));
  WriteTensors("model-00001-of-00002.safetensors", {"model.embed_tokens.weight"});
  WriteTensors("model-00002-of-00002.safetensors", {"model.layers.0.mlp.up_proj.weight", "model.norm.weight"});
  Write("model.safetensors.index.json", R"({"metadata":{"total_size":48},"weight_map":{
      "model.embed_tokens.weight":"model-00001-of-00002.safetensors",
      "model.layers.0.mlp.up_proj.weight":"model-00002-of-00002.safetensors",
      "model.norm.weight":"model-00002-of-00002.safetensors"}})");
  const Result<Checkpoint> opened = Open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_THAT(Names(*opened), ElementsAre("token_embd.weight", "blk.0.ffn_up.weight", "output_norm.weight"));
  EXPECT_EQ(opened->files().size(), 2u);
  EXPECT_EQ(opened->Find("blk.0.ffn_up.weight")->file, 1);
  EXPECT_EQ(opened->Data(*opened->Find("output_norm.weight")).size(), 16u);

  WriteTensors("model-00002-of-00002.safetensors", {"model.norm.weight", "model.embed_tokens.weight"});
  EXPECT_THAT(Open().status().message(), HasSubstr("which holds it, found model-00001-of-00002.safetensors"));
}

TEST_F(HfFolderTest, NameComesFromTheFolder) {
  Write("config.json", Config("qwen2", R"("tie_word_embeddings":true)"));
  WriteTensors("model.safetensors", {"model.embed_tokens.weight"});
  EXPECT_EQ(*Checkpoint::Open(folder_.string() + "/./")->metadata().GetString("general.name"),
            folder_.filename().string());
}

}  // namespace
}  // namespace inkstone

// RoPE of a model against tables that rope_reference.py computed, from a Hugging Face folder and from the GGUF that is
// made of it; and llama.cpp's keys.
#include "model/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>

#include "compress/compress.h"
#include "compress/synth.h"
#include "formats/gguf_writer.h"
#include "model/model.h"
#include "running.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RopeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("inkstone_rope_" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // A model of one small layer.
  fs::path Model64(const std::string& architecture) const {
    SynthOptions o;
    o.output = (folder_ / architecture).string();
    o.type = DType::kF32;
    o.shape = *NamedShape("qwen3-tiny");
    o.shape.architecture = architecture;
    o.shape.hidden = o.shape.head_dim = o.shape.intermediate = 64;
    o.shape.layers = o.shape.heads = o.shape.kv_heads = 1;
    if (!fs::exists(o.output)) {
      EXPECT_TRUE(Synth(o, [](const Progress&) {}).ok());
    }
    return o.output;
  }

  // A GGUF with the metadata that `change` leaves.
  Result<ModelConfig> FromGguf(const std::function<void(Metadata&)>& change) const {
    Metadata m("test");
    m.SetString("general.architecture", "qwen3");
    for (const char* key : {"block_count", "attention.head_count", "attention.head_count_kv"}) {
      m.SetU32(std::string("qwen3.") + key, 2);
    }
    for (const char* key : {"embedding_length", "feed_forward_length", "attention.key_length"}) {
      m.SetU32(std::string("qwen3.") + key, 8);
    }
    m.SetU32("qwen3.context_length", 100);
    change(m);
    TensorInfo embedding;
    embedding.name = "token_embd.weight";
    embedding.shape = {4, 8};
    const std::string path = (folder_ / "m.gguf").string();
    INK_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(path, m, {embedding}));
    INK_RETURN_IF_ERROR(writer.Append(std::vector<std::byte>(4 * 8 * sizeof(float))));
    INK_RETURN_IF_ERROR(writer.Finish());
    INK_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(path));
    return Model::ReadConfig(checkpoint);
  }
  std::string GgufError(const std::function<void(Metadata&)>& change) const {
    const auto config = FromGguf(change);
    return config.ok() ? "ok" : config.status().message();
  }

  fs::path folder_;
};

void ExpectTable(const std::string& path, const json::object& golden) {
  const auto checkpoint = Checkpoint::Open(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const auto config = Model::ReadConfig(*checkpoint);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->context, golden.at("context").to_number<int64_t>());
  const RopeTable table(config->rope);
  const json::array& want = golden.at("frequencies").as_array();
  ASSERT_EQ(table.frequencies().size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const double expected = want[i].to_number<double>();
    EXPECT_NEAR(table.frequencies()[i], expected, 3e-7 * expected) << i;
  }
  EXPECT_NEAR(table.amplitude(), golden.at("amplitude").to_number<double>(), 3e-7);
}

TEST_F(RopeTest, TablesAreThoseOfTheReferenceAlsoAfterConversion) {
  const std::string text = ReadText(INKSTONE_SOURCE_DIR "/tests/data/model_golden/rope_tables.json");
  const json::value goldens = json::parse(text);
  ASSERT_GT(goldens.as_array().size(), 15u);
  for (const json::value& golden : goldens.as_array()) {
    SCOPED_TRACE(golden.at("name").as_string());
    const fs::path model = Model64(std::string(golden.at("architecture").as_string()));
    json::object config = json::parse(ReadText(model / "config.json")).as_object();
    for (const char* key : {"rope_theta", "rope_scaling", "rope_parameters"}) config.erase(key);
    for (const auto& item : golden.at("config").as_object()) config[item.key()] = item.value();
    std::ofstream(model / "config.json") << json::serialize(config);
    ExpectTable(model.string(), golden.as_object());

    CompressOptions options;
    options.source = model.string();
    options.output = (folder_ / "out.gguf").string();
    options.recipe.base = DType::kF32;
    const auto report = Compress(options, [](const Progress&) {});
    ASSERT_TRUE(report.ok()) << report.status().message();
    ExpectTable(options.output, golden.as_object());
  }
}

TEST_F(RopeTest, LinearScalingOfGgufUnderItsNamesAndWithoutAType) {
  for (const char* key : {"qwen3.rope.scale_linear", "qwen3.rope.scaling.factor"}) {
    const auto config = FromGguf([&](Metadata& m) { m.SetF32(key, 4.0f); });
    ASSERT_TRUE(config.ok()) << config.status().message();
    EXPECT_EQ(config->rope.linear_factor, 4.0) << key;
    EXPECT_EQ(config->context, 100);
  }
  const auto off = FromGguf([](Metadata& m) {
    m.SetF32("qwen3.rope.scaling.factor", 4.0f);
    m.SetString("qwen3.rope.scaling.type", "none");
  });
  EXPECT_EQ(off->rope.linear_factor, 1.0);
  EXPECT_EQ(FromGguf([](Metadata& m) { m.SetF32("qwen3.rope.scale_linear", 0.0f); })->rope.linear_factor, 1.0);
  EXPECT_THAT(GgufError([](Metadata& m) { m.SetF32("qwen3.rope.scale_linear", -1.0f); }),
              HasSubstr("'qwen3.rope.scale_linear': expected a number from"));
}

TEST_F(RopeTest, YarnOfGguf) {
  const auto yarn = [](Metadata& m) {
    m.SetString("qwen3.rope.scaling.type", "yarn");
    m.SetF32("qwen3.rope.scaling.factor", 4.0f);
  };
  const auto bare = FromGguf(yarn);
  ASSERT_TRUE(bare.ok()) << bare.status().message();
  EXPECT_EQ(bare->rope.yarn_original_context, 100);
  EXPECT_EQ(bare->context, 400);
  EXPECT_THAT(bare->warnings, ElementsAre(HasSubstr("the context length 100 is taken")));
  const auto full = FromGguf([&](Metadata& m) {
    yarn(m);
    m.SetU32("qwen3.rope.scaling.original_context_length", 50);
    m.SetF32("qwen3.rope.scaling.attn_factor", 0.5f);
    m.SetF32("qwen3.rope.scaling.yarn_ext_factor", 1.0f);
    m.SetF32("qwen3.rope.scaling.yarn_attn_factor", 1.0f);
    m.SetF32("qwen3.rope.scaling.yarn_beta_fast", 16.0f);
    m.SetF32("qwen3.rope.scaling.yarn_beta_slow", -1.0f);  // not set
    m.SetF32("qwen3.rope.scaling.yarn_log_multiplier", 0.0f);
    m.SetBool("qwen3.rope.scaling.finetuned", true);
  });
  ASSERT_TRUE(full.ok()) << full.status().message();
  EXPECT_THAT(full->warnings, IsEmpty());
  EXPECT_EQ(full->context, 200);
  EXPECT_EQ(full->rope.yarn_beta_fast, 16.0);
  EXPECT_EQ(full->rope.yarn_beta_slow, 1.0);
  EXPECT_NEAR(RopeTable(full->rope).amplitude(), 0.5 * (1 + 0.1 * std::log(4.0)), 1e-6);
}

TEST_F(RopeTest, KeysOfGgufThatWouldChangeNumbersAreRefusedByName) {
  const std::map<std::string, float> refused = {{"qwen3.rope.scaling.yarn_log_multiplier", 0.1f},
                                                {"qwen3.rope.scaling.yarn_ext_factor", 0.5f},
                                                {"qwen3.rope.scaling.yarn_attn_factor", 2.0f},
                                                {"qwen3.rope.scaling.alpha", 2.0f},
                                                {"qwen3.rope.freq_base_swa", 1e4f},
                                                {"qwen3.rope.new", 1.0f}};
  for (const auto& [key, value] : refused) {
    const auto config = FromGguf([&](Metadata& m) { m.SetF32(key, value); });
    EXPECT_EQ(config.status().code(), StatusCode::kUnimplemented) << key;
    EXPECT_THAT(config.status().message(), HasSubstr("'" + key + "'"));
  }
  EXPECT_THAT(GgufError([](Metadata& m) { m.SetString("qwen3.rope.scaling.type", "longrope"); }),
              HasSubstr("'qwen3.rope.scaling.type': expected none, linear or yarn, found 'longrope'"));
}

TEST_F(RopeTest, UniformListsOfGgufAreTaken) {
  const auto config = FromGguf([](Metadata& m) {
    m.SetI32s("qwen3.attention.head_count_kv", std::vector<int32_t>{1, 1});
    m.SetI32s("qwen3.feed_forward_length", std::vector<int32_t>{24, 24});
  });
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->kv_heads, 1);
  EXPECT_EQ(config->intermediate, 24);
  EXPECT_THAT(GgufError([](Metadata& m) {
                m.SetI32s("qwen3.feed_forward_length", std::vector<int32_t>{24, 32});
              }),
              HasSubstr("'qwen3.feed_forward_length': expected the same number for every layer, found 24 and 32"));
  EXPECT_THAT(GgufError([](Metadata& m) { m.SetI32s("qwen3.feed_forward_length", {}); }), HasSubstr("an empty list"));
}

}  // namespace
}  // namespace inkstone

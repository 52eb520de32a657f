// What of a config's RoPE is honoured, warned of and refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "formats/hf_folder.h"

namespace inkstone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Result<HfConfig> Parse(const std::string& more) {
  const std::string text =
      R"({"model_type":"qwen3","hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":10,)"
      R"("intermediate_size":96,"max_position_embeddings":128,)" +
      more + "}";
  return ParseHfConfig({.config = text, .generation = ""}, "dir", "name");
}

std::string ErrorOf(const std::string& more) {
  const auto config = Parse(more);
  if (config.ok()) return "ok";
  EXPECT_EQ(config.status().code(), StatusCode::kUnimplemented) << config.status().message();
  return config.status().message();
}

double AttnFactor(const std::string& fields) {
  const auto config =
      Parse(R"("rope_scaling":{"rope_type":"yarn","factor":4,)" + fields + R"("original_max_position_embeddings":32})");
  if (!config.ok()) return -1;
  EXPECT_THAT(config->warnings, IsEmpty());
  const auto value = config->metadata.GetFloatOr("qwen3.rope.scaling.attn_factor", 1.0);
  return value.ok() ? *value : -1;
}

TEST(HfRopeTest, EveryFieldThatSetsTheAttentionFactorOfYarn) {
  const double usual = 1 + 0.1 * std::log(4.0);
  EXPECT_EQ(AttnFactor(""), 1.0);
  EXPECT_NEAR(AttnFactor(R"("attention_factor":1.5,)"), 1.5 / usual, 1e-6);
  EXPECT_NEAR(AttnFactor(R"("attn_factor":0.8782488562869419,)"), 0.8782488562869419, 1e-7);
  EXPECT_NEAR(AttnFactor(R"("mscale":0.707,"mscale_all_dim":1.0,)"),
              (1 + 0.0707 * std::log(4.0)) / (1 + 0.1 * std::log(4.0)) / usual, 1e-6);
  EXPECT_EQ(AttnFactor(R"("mscale":0.707,)"), 1.0);  // transformers uses neither without the other
  EXPECT_NEAR(AttnFactor(R"("attention_factor":1.0,"mscale":0.5,"mscale_all_dim":0.25,)"), 1 / usual, 1e-6);
}

TEST(HfRopeTest, TruncateIsKept) {
  const auto off = Parse(R"("rope_scaling":{"rope_type":"yarn","factor":4,"truncate":false})");
  ASSERT_TRUE(off.ok()) << off.status().message();
  EXPECT_FALSE(*off->metadata.GetBool("inkstone.rope.yarn_truncate"));
  const auto on = Parse(R"("rope_scaling":{"rope_type":"yarn","factor":4,"truncate":true})");
  EXPECT_EQ(on->metadata.Find("inkstone.rope.yarn_truncate"), nullptr);
}

TEST(HfRopeTest, YarnFillsInWhatTransformersFillsIn) {
  const auto config = Parse(R"("rope_scaling":{"rope_type":"yarn","factor":4,"beta_fast":null,"beta_slow":0})");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(*config->metadata.GetInt("qwen3.rope.scaling.original_context_length"), 128);
  EXPECT_EQ(config->metadata.Find("qwen3.rope.scaling.yarn_beta_fast"), nullptr);
  EXPECT_EQ(config->metadata.Find("qwen3.rope.scaling.yarn_beta_slow"), nullptr);
  EXPECT_THAT(config->warnings,
              ElementsAre(HasSubstr("rope_scaling.original_max_position_embeddings: expected the positions before the "
                                    "extension, found nothing; max_position_embeddings (128) is taken")));
  const auto ratio = Parse(R"("rope_scaling":{"rope_type":"yarn","original_max_position_embeddings":32})");
  EXPECT_EQ(*ratio->metadata.GetFloat("qwen3.rope.scaling.factor"), 4.0);
  const auto outside = Parse(R"("original_max_position_embeddings":64,
                                "rope_scaling":{"type":"yarn","factor":2,"original_max_position_embeddings":32})");
  EXPECT_EQ(*outside->metadata.GetInt("qwen3.rope.scaling.original_context_length"), 64);
}

TEST(HfRopeTest, OneObjectForEachKindOfLayer) {
  const auto config = Parse(R"("rope_parameters":{
      "full_attention":{"rope_type":"yarn","rope_theta":5e5,"factor":4,"original_max_position_embeddings":32},
      "sliding_attention":{"rope_type":"default","rope_theta":1e4}})");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(*config->metadata.GetFloat("qwen3.rope.freq_base"), 5e5);
  EXPECT_EQ(*config->metadata.GetString("qwen3.rope.scaling.type"), "yarn");
  EXPECT_THAT(ErrorOf(R"("rope_parameters":{"sliding_attention":{"rope_type":"default"}})"),
              HasSubstr("rope_parameters.full_attention: expected an object, found nothing"));
  EXPECT_THAT(ErrorOf(R"("rope_parameters":{"full_attention":{"rope_type":"default"},"factor":2})"),
              HasSubstr("rope_parameters.factor: expected nothing beside one object"));
}

TEST(HfRopeTest, ThetaLiesInsideOrOutside) {
  EXPECT_EQ(*Parse(R"("rope_scaling":{"type":"linear","factor":2,"rope_theta":5e5})")
                 ->metadata.GetFloat("qwen3.rope.freq_base"),
            5e5);
  EXPECT_EQ(*Parse(R"("rope_theta":5e5,"rope_parameters":{"rope_type":"default"})")
                 ->metadata.GetFloat("qwen3.rope.freq_base"),
            5e5);
}

TEST(HfRopeTest, WhatWouldChangeNumbersIsRefusedByName) {
  const auto yarn = [](const std::string& fields) {
    return ErrorOf(R"("rope_scaling":{"rope_type":"yarn","factor":4,)" + fields + "}");
  };
  EXPECT_THAT(yarn(R"("rampart":1)"), HasSubstr("dir/config.json: rope_scaling.rampart: expected no such field"));
  EXPECT_THAT(yarn(R"("short_mscale":1)"), HasSubstr("rope_scaling.short_mscale"));
  EXPECT_THAT(yarn(R"("extrapolation_factor":0.5)"), HasSubstr("rope_scaling.extrapolation_factor: expected 1"));
  EXPECT_THAT(yarn(R"("partial_rotary_factor":0.5)"), HasSubstr("rope_scaling.partial_rotary_factor"));
  EXPECT_THAT(yarn(R"("attn_factor":2,"attention_factor":2)"), HasSubstr("rope_scaling.attn_factor: expected nothing"));
  EXPECT_THAT(ErrorOf(R"("rope_scaling":{"type":"linear","factor":4,"attn_factor":2})"),
              HasSubstr("rope_scaling.attn_factor"));
  EXPECT_THAT(ErrorOf(R"("rope_scaling":{"mrope_section":[8,12,12]})"), HasSubstr("rope_scaling.mrope_section"));
  EXPECT_THAT(ErrorOf(R"("rope_scaling":{"type":"dynamic","factor":4})"), HasSubstr("rope_scaling.type"));
  EXPECT_THAT(ErrorOf(R"("rope_scaling":{"type":"yarn","factor":4},"rope_parameters":{"rope_type":"default"})"),
              HasSubstr("rope_scaling: expected nothing beside rope_parameters"));
}

TEST(HfRopeTest, FieldsOfOtherTypesAreNamedAndHarmlessOnesPass) {
  const auto other = Parse(R"("rope_scaling":{"type":"linear","factor":4,"beta_fast":32})");
  ASSERT_TRUE(other.ok()) << other.status().message();
  EXPECT_THAT(other->warnings, ElementsAre(HasSubstr("rope_scaling.beta_fast: expected no such field with rope_type "
                                                     "\"linear\", found 32; it is not used")));
  const auto harmless = Parse(R"("rope_scaling":{"type":"yarn","rope_type":"yarn","factor":4,"finetuned":true,
                                 "original_max_position_embeddings":32,"extrapolation_factor":1.0,"mscale":null})");
  ASSERT_TRUE(harmless.ok()) << harmless.status().message();
  EXPECT_THAT(harmless->warnings, IsEmpty());
}

TEST(HfConfigTest, WholeNumbersAndUniformListsAreTaken) {
  const auto config = Parse(R"("num_key_value_heads":[2,2],"max_window_layers":2.0)");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(*config->metadata.GetInt("qwen3.attention.head_count_kv"), 2);
  EXPECT_THAT(ErrorOf(R"("num_key_value_heads":[2,1])"),
              HasSubstr("num_key_value_heads: expected the same number for every layer, found an array of 2"));
  EXPECT_THAT(ErrorOf(R"("num_key_value_heads":[])"), HasSubstr("num_key_value_heads"));
}

// generation_config.json with one field, and what becomes of it.
std::string Sampled(const std::string& field) {
  const auto config = ParseHfConfig(
      {R"({"model_type":"qwen3","hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":10,
           "intermediate_size":96,"max_position_embeddings":128})",
       "{" + field + "}"},
      "dir", "name");
  if (!config.ok()) return config.status().message();
  std::string out;
  for (const Metadata::Entry& entry : config->metadata.entries()) {
    if (!entry.key.starts_with("general.sampling.")) continue;
    out += std::string(entry.key.substr(17)) + "=" + std::to_string(*config->metadata.GetFloat(entry.key)).substr(0, 6);
  }
  return out + (config->warnings.empty() ? "" : " warned");
}

TEST(HfConfigTest, OddSamplingStopsNoModel) {
  EXPECT_EQ(Sampled(R"("top_k":-1)"), "top_k=0.0000 warned");
  EXPECT_EQ(Sampled(R"("top_k":50.0)"), "top_k=50.000");
  EXPECT_EQ(Sampled(R"("top_k":"40")"), "top_k=40.000 warned");
  EXPECT_EQ(Sampled(R"("top_k":2.5)"), " warned");
  EXPECT_EQ(Sampled(R"("top_k":null)"), "");
  EXPECT_EQ(Sampled(R"("top_k":18446744073709551615)"), "top_k=0.0000 warned");
  EXPECT_EQ(Sampled(R"("temperature":0)"), "temp=0.0000");
  EXPECT_EQ(Sampled(R"("temperature":0.00001)"), "temp=0.0000 warned");
  EXPECT_EQ(Sampled(R"("temperature":-1)"), " warned");
  EXPECT_EQ(Sampled(R"("temperature":"hot")"), " warned");
  EXPECT_EQ(Sampled(R"("temperature":[1])"), " warned");
  EXPECT_EQ(Sampled(R"("top_p":1.5)"), "top_p=1.0000 warned");
  EXPECT_EQ(Sampled(R"("top_p":0)"), "top_p=0.0000 warned");
  EXPECT_EQ(Sampled(R"("min_p":-0.1)"), "min_p=0.0000 warned");
  EXPECT_EQ(Sampled(R"("repetition_penalty":0)"), " warned");
  EXPECT_EQ(Sampled(R"("do_sample":0,"temperature":0.5)"), " warned");
  EXPECT_EQ(Sampled(R"("do_sample":1,"temperature":0.5)"), "temp=0.5000 warned");
}

}  // namespace
}  // namespace inkstone

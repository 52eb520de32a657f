#include "engine/default_sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace inkstone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(DefaultSampling, ComesFromTheFileOrFromTheFamily) {
  Metadata metadata("test.gguf");
  std::vector<std::string> warnings;
  EXPECT_EQ(ReadDefaultSampling(metadata, "qwen2", &warnings).top_k, 20);
  EXPECT_FLOAT_EQ(ReadDefaultSampling(metadata, "qwen3", &warnings).top_p, 0.8f);
  EXPECT_EQ(ReadDefaultSampling(metadata, "llama", &warnings).top_k, 40);
  metadata.SetF32("general.sampling.temp", 0.25f);
  metadata.SetF32("general.sampling.penalty_repeat", 1.5f);
  metadata.SetU32("general.sampling.top_k", 7);
  const SamplingParams params = ReadDefaultSampling(metadata, "qwen3", &warnings);
  EXPECT_FLOAT_EQ(params.temperature, 0.25f);
  EXPECT_FLOAT_EQ(params.top_p, 1.0f);
  EXPECT_FLOAT_EQ(params.repetition_penalty, 1.5f);
  EXPECT_EQ(params.top_k, 7);
  EXPECT_THAT(warnings, IsEmpty());
}

TEST(DefaultSampling, OddKeysOfAFileStopNothing) {
  Metadata metadata("test.gguf");
  metadata.SetF32("general.sampling.temp", std::nanf(""));
  metadata.SetString("general.sampling.top_p", "0.9");
  metadata.SetF32("general.sampling.top_k", 40.0f);
  metadata.SetBool("general.sampling.min_p", true);
  metadata.SetI32s("general.sampling.penalty_repeat", std::vector<int32_t>{1});
  std::vector<std::string> warnings;
  const SamplingParams params = ReadDefaultSampling(metadata, "qwen3", &warnings);
  EXPECT_TRUE(params.Validate(10).ok());
  EXPECT_FLOAT_EQ(params.temperature, 1.0f);
  EXPECT_FLOAT_EQ(params.top_p, 0.9f);
  EXPECT_EQ(params.top_k, 40);
  EXPECT_FLOAT_EQ(params.min_p, 0.0f);
  EXPECT_FLOAT_EQ(params.repetition_penalty, 1.0f);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("general.sampling.temp': expected a number from 0 to 100, found nan"),
                                    HasSubstr("found \"0.9\"; 0.9 is taken"), HasSubstr("found true; it is left out"),
                                    HasSubstr("found an array; it is left out")));
}

}  // namespace
}  // namespace inkstone

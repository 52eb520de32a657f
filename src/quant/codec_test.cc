#include "quant/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "core/half.h"
#include "quant/blocks.h"

namespace inkstone {
namespace {

std::vector<std::byte> ReadGolden(const std::string& name) {
  std::ifstream file(std::string(INKSTONE_SOURCE_DIR) + "/src/quant/testdata/" + name, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_FALSE(text.empty()) << name;
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::vector<float> ReadGoldenFloats(const std::string& name) {
  const std::vector<std::byte> bytes = ReadGolden(name);
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (float v : values) bits.push_back(std::bit_cast<uint32_t>(v));
  return bits;
}

class EveryType : public testing::TestWithParam<DTypeInfo> {};

TEST_P(EveryType, DecodesAsTheReferenceDoes) {
  const DTypeInfo& info = GetParam();
  const std::string name(info.name);
  const std::vector<std::byte> blocks = ReadGolden(name + ".bin");
  const std::vector<float> expected = ReadGoldenFloats(name + ".f32");
  ASSERT_EQ(blocks.size(), static_cast<size_t>(RowBytes(info.type, static_cast<int64_t>(expected.size()))));
  std::vector<float> decoded(expected.size());
  DecodeRow(info.type, blocks.data(), static_cast<int64_t>(decoded.size()), decoded.data());
  EXPECT_EQ(Bits(decoded), Bits(expected));
}

TEST_P(EveryType, DecodesFromAnyAddress) {
  const DTypeInfo& info = GetParam();
  std::vector<std::byte> blocks = ReadGolden(std::string(info.name) + ".bin");
  const std::vector<float> expected = ReadGoldenFloats(std::string(info.name) + ".f32");
  blocks.insert(blocks.begin(), std::byte{0});
  std::vector<float> decoded(expected.size());
  DecodeRow(info.type, blocks.data() + 1, static_cast<int64_t>(decoded.size()), decoded.data());
  EXPECT_EQ(Bits(decoded), Bits(expected));
}

class OutputType : public testing::TestWithParam<DType> {};

TEST_P(OutputType, EncodesAsTheReferenceDoes) {
  const DTypeInfo& info = Info(GetParam());
  ASSERT_TRUE(CanEncode(info.type));
  const std::vector<float> values = ReadGoldenFloats("encode.f32");
  const std::vector<std::byte> expected = ReadGolden("encode_" + std::string(info.name) + ".bin");
  std::vector<std::byte> encoded(static_cast<size_t>(RowBytes(info.type, static_cast<int64_t>(values.size()))));
  EncodeRow(info.type, values.data(), static_cast<int64_t>(values.size()), encoded.data());
  ASSERT_EQ(encoded.size(), expected.size());
  for (size_t i = 0; i < encoded.size(); ++i) {
    ASSERT_EQ(encoded[i], expected[i]) << "byte " << i << " (block " << i / static_cast<size_t>(info.block_bytes)
                                       << ")";
  }
}

INSTANTIATE_TEST_SUITE_P(Codec, EveryType, testing::ValuesIn(AllDTypes().begin(), AllDTypes().end()),
                         [](const auto& test) { return std::string(test.param.name); });

INSTANTIATE_TEST_SUITE_P(Codec, OutputType,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0,
                                         DType::kQ4_1),
                         [](const auto& test) { return std::string(Info(test.param).name); });

TEST(Codec, SaysWhatItCannotEncode) {
  for (DType type : {DType::kQ5_0, DType::kQ5_1, DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K,
                     DType::kIQ4_NL, DType::kIQ4_XS}) {
    EXPECT_FALSE(CanEncode(type)) << Info(type).name;
  }
}

TEST(Codec, BlockStructsHaveTheSizesOfTheTypes) {
  EXPECT_EQ(Info(DType::kQ4_0).block_bytes, static_cast<int>(sizeof(BlockQ4_0)));
  EXPECT_EQ(Info(DType::kQ4_1).block_bytes, static_cast<int>(sizeof(BlockQ4_1)));
  EXPECT_EQ(Info(DType::kQ5_0).block_bytes, static_cast<int>(sizeof(BlockQ5_0)));
  EXPECT_EQ(Info(DType::kQ5_1).block_bytes, static_cast<int>(sizeof(BlockQ5_1)));
  EXPECT_EQ(Info(DType::kQ8_0).block_bytes, static_cast<int>(sizeof(BlockQ8_0)));
  EXPECT_EQ(Info(DType::kQ2_K).block_bytes, static_cast<int>(sizeof(BlockQ2_K)));
  EXPECT_EQ(Info(DType::kQ3_K).block_bytes, static_cast<int>(sizeof(BlockQ3_K)));
  EXPECT_EQ(Info(DType::kQ4_K).block_bytes, static_cast<int>(sizeof(BlockQ4_K)));
  EXPECT_EQ(Info(DType::kQ5_K).block_bytes, static_cast<int>(sizeof(BlockQ5_K)));
  EXPECT_EQ(Info(DType::kQ6_K).block_bytes, static_cast<int>(sizeof(BlockQ6_K)));
  EXPECT_EQ(Info(DType::kIQ4_NL).block_bytes, static_cast<int>(sizeof(BlockIQ4_NL)));
  EXPECT_EQ(Info(DType::kIQ4_XS).block_bytes, static_cast<int>(sizeof(BlockIQ4_XS)));
}

TEST(Codec, ValuesTooSmallForAScaleBecomeZero) {
  std::vector<float> values(32, std::numeric_limits<float>::denorm_min());
  values[3] = -values[3];
  for (DType type : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    std::vector<std::byte> encoded(static_cast<size_t>(Info(type).block_bytes));
    std::vector<float> decoded(32);
    EncodeRow(type, values.data(), 32, encoded.data());
    DecodeRow(type, encoded.data(), 32, decoded.data());
    EXPECT_THAT(decoded, testing::Each(0.0f)) << Info(type).name;
  }
}

TEST(Codec, QuantizationErrorIsWithinHalfAStep) {
  std::vector<float> values(32);
  for (int i = 0; i < 32; ++i) values[static_cast<size_t>(i)] = std::sin(static_cast<float>(i) * 0.7f);
  BlockQ8_0 block;
  EncodeRow(DType::kQ8_0, values.data(), 32, reinterpret_cast<std::byte*>(&block));
  std::vector<float> decoded(32);
  DecodeRow(DType::kQ8_0, reinterpret_cast<std::byte*>(&block), 32, decoded.data());
  const float step = F16ToF32(block.d);
  for (size_t i = 0; i < 32; ++i) EXPECT_NEAR(decoded[i], values[i], 0.55f * step);
}

TEST(Codec, FindsTheFirstNonFiniteValue) {
  std::vector<float> values(5000, 1.0f);
  EXPECT_EQ(FirstNonFinite(values.data(), 5000), -1);
  EXPECT_EQ(FirstNonFinite(values.data(), 0), -1);
  values[4999] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(FirstNonFinite(values.data(), 5000), 4999);
  values[1024] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(FirstNonFinite(values.data(), 5000), 1024);
  values[1023] = std::numeric_limits<float>::max();
  EXPECT_EQ(FirstNonFinite(values.data(), 1024), -1);
}

TEST(Codec, FindsTheFirstValueBeyondALimit) {
  std::vector<float> values(3000, -65504.0f);
  EXPECT_EQ(FirstBeyond(values.data(), 3000, 65504.0f), -1);
  values[2999] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(FirstBeyond(values.data(), 3000, 65504.0f), 2999);
  values[7] = -65505.0f;
  EXPECT_EQ(FirstBeyond(values.data(), 3000, 65504.0f), 7);
}

TEST(Codec, ValuesUpToTheLimitDecodeToFiniteOnes) {
  for (DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    std::vector<float> values(32, 0.0f);
    values[0] = EncodeLimit(type);
    values[1] = -EncodeLimit(type);
    std::vector<std::byte> encoded(static_cast<size_t>(RowBytes(type, 32)));
    std::vector<float> decoded(32);
    EncodeRow(type, values.data(), 32, encoded.data());
    DecodeRow(type, encoded.data(), 32, decoded.data());
    EXPECT_EQ(FirstNonFinite(decoded.data(), 32), -1) << Info(type).name;
    EXPECT_NEAR(decoded[0] / values[0], 1.0f, 0.15f) << Info(type).name;
  }
}

}  // namespace
}  // namespace inkstone

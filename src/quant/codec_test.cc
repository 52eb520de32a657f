#include "quant/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

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
  bits.reserve(values.size());
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

class ReferenceType : public testing::TestWithParam<DType> {};

TEST_P(ReferenceType, EncodesAsTheReferenceDoes) {
  const DTypeInfo& info = Info(GetParam());
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

INSTANTIATE_TEST_SUITE_P(Codec, ReferenceType, testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0),
                         [](const auto& test) { return std::string(Info(test.param).name); });

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

}  // namespace
}  // namespace inkstone

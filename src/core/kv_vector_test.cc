#include "core/kv_vector.h"

#include <gtest/gtest.h>

namespace inkstone {
namespace {

TEST(KvTypes, NamesAreReadInAnyCase) {
  EXPECT_EQ(KvTypesFromName("q8_0"), (KvTypes{DType::kQ8_0, DType::kQ8_0}));
  EXPECT_EQ(KvTypesFromName("Q8_0/q4_0"), (KvTypes{DType::kQ8_0, DType::kQ4_0}));
  EXPECT_EQ(KvTypesFromName("f32/F16"), (KvTypes{DType::kF32, DType::kF16}));
  for (const char* wrong : {"", "/", "q8_0/", "/q8_0", "q8_0/q4_0/f16", "bf16", "q4_k", "q8_0/q5_0", "q8_0 "}) {
    EXPECT_EQ(KvTypesFromName(wrong), std::nullopt) << wrong;
  }
}

TEST(KvTypes, NamesAreWrittenOnceWhenEqual) {
  for (const char* name : {"F32", "F16", "Q8_0", "Q4_0", "Q8_0/Q4_0", "F16/Q8_0"}) {
    EXPECT_EQ(KvTypesName(*KvTypesFromName(name)), name);
  }
  EXPECT_EQ(KvTypesName({DType::kQ4_0, DType::kQ4_0}), "Q4_0");
}

TEST(KvVector, Bytes) {
  EXPECT_EQ(KvVectorBytes(DType::kF32, 80), 320);
  EXPECT_EQ(KvVectorBytes(DType::kF16, 80), 160);
  EXPECT_EQ(KvVectorBytes(DType::kQ8_0, 96), 108);
  EXPECT_EQ(KvVectorBytes(DType::kQ4_0, 96), 54);
  EXPECT_EQ(KvVectorBytes(DType::kQ4_0, 128), 72);
}

TEST(KvVector, GroupsMustFillAHead) {
  for (const DType type : {DType::kQ8_0, DType::kQ4_0}) {
    EXPECT_TRUE(KvTypeFits(type, 96));
    EXPECT_FALSE(KvTypeFits(type, 80));
  }
  EXPECT_TRUE(KvTypeFits(DType::kF16, 80));
}

TEST(KvVector, TransformsAreAsLongAsAHeadAllows) {
  EXPECT_EQ(HadamardBlock(128), 128);
  EXPECT_EQ(HadamardBlock(96), 32);
  EXPECT_EQ(HadamardBlock(64), 64);
  EXPECT_EQ(HadamardBlock(160), 32);
}

}  // namespace
}  // namespace inkstone

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compress/sensitivity.h"
#include "compress/test_util.h"
#include "formats/gguf_writer.h"

namespace inkstone {
namespace {

using ::testing::HasSubstr;

SensitivityTable Table() {
  SensitivityTable table;
  table.tensors = {"blk.0.attn_q.weight", "blk.0.ffn_down.weight"};
  table.types = {DType::kQ4_K, DType::kQ6_K, DType::kQ8_0};
  table.divergence = {1e-3f, 2e-4f, 1e-6f, std::numeric_limits<float>::quiet_NaN(), 3e-5f, 0.0f};
  table.tokens = 5'000'000'000;
  return table;
}

void ExpectTable(const Metadata& metadata) {
  const auto read = ReadSensitivity(metadata);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->tensors, Table().tensors);
  EXPECT_EQ(read->types, Table().types);
  EXPECT_EQ(read->tokens, 5'000'000'000);
  ASSERT_EQ(read->divergence.size(), 6u);
  EXPECT_EQ(read->at(0, 1), 2e-4f);
  EXPECT_TRUE(std::isnan(read->at(1, 0)));
  EXPECT_EQ(read->at(1, 2), 0.0f);
}

TEST(SensitivityMetadataTest, ReadsBackWhatWasAdded) {
  Metadata metadata("model.gguf");
  AddSensitivity(Table(), &metadata);
  ExpectTable(metadata);
}

TEST(SensitivityMetadataTest, SurvivesAFile) {
  const TempFolder folder;
  Metadata metadata;
  metadata.SetString("general.architecture", "qwen3");
  AddSensitivity(Table(), &metadata);
  auto writer = GgufWriter::Create(folder / "m.gguf", metadata, {});
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  ASSERT_TRUE(writer->Finish().ok());
  ExpectTable(MustOpen(folder / "m.gguf").metadata());
}

TEST(SensitivityMetadataTest, MissingKeysAreAnEmptyTable) {
  const auto read = ReadSensitivity(Metadata("model.gguf"));
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(read->tensors.empty());
  EXPECT_TRUE(read->types.empty());
}

TEST(SensitivityMetadataTest, RefusesPartsThatDoNotFit) {
  const auto error = [](auto change) {
    Metadata metadata("model.gguf");
    AddSensitivity(Table(), &metadata);
    change(metadata);
    const Status status = ReadSensitivity(metadata).status();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    return status.message();
  };
  EXPECT_EQ(error([](Metadata& m) { m.SetF32s("inkstone.sensitivity.divergence", std::vector<float>(5)); }),
            "model.gguf: inkstone.sensitivity.divergence: expected 2 x 3 values, found 5");
  EXPECT_THAT(error([](Metadata& m) { m.SetStrings("inkstone.sensitivity.types", std::vector<std::string>{}); }),
              HasSubstr("expected 2 x 0 values, found 6"));
  EXPECT_THAT(error([](Metadata& m) { m.SetStrings("inkstone.sensitivity.tensors", std::vector<std::string>{}); }),
              HasSubstr("expected 0 x 3 values, found 6"));
  EXPECT_THAT(error([](Metadata& m) {
                m.SetStrings("inkstone.sensitivity.types", std::vector<std::string>{"Q4_K", "Q9", "Q8_0"});
              }),
              HasSubstr("found 'Q9'"));
  EXPECT_THAT(error([](Metadata& m) { m.Erase("inkstone.sensitivity.types"); }), HasSubstr("found no such key"));
  EXPECT_THAT(error([](Metadata& m) { m.SetU32("inkstone.sensitivity.divergence", 1); }), HasSubstr("found u32"));
}

}  // namespace
}  // namespace inkstone

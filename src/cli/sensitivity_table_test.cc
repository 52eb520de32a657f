#include "cli/sensitivity_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <filesystem>
#include <limits>
#include <memory>
#include <sstream>
#include <string>

#include "formats/gguf_writer.h"

namespace inkstone {
namespace {

using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr const char* kKinds[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};

// A file with these tensors, 256 values each, and their sensitivity in its metadata; read back.
class SensitivityTableTest : public testing::Test {
 protected:
  void Write(const SensitivityTable& table, const std::vector<DType>& chosen) {
    std::vector<TensorInfo> tensors;
    for (size_t i = 0; i < chosen.size(); ++i) {
      TensorInfo info;
      info.name = table.tensors[i];
      info.dtype = chosen[i];
      info.shape = {1, 256};
      info.bytes = static_cast<uint64_t>(RowBytes(chosen[i], 256));
      tensors.push_back(info);
    }
    Metadata metadata;
    metadata.SetString("general.architecture", "qwen3");
    AddSensitivity(table, &metadata);
    auto writer = GgufWriter::Create(path_, metadata, tensors);
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    for (const TensorInfo& info : tensors) ASSERT_TRUE(writer->Append(std::vector<std::byte>(info.bytes)).ok());
    ASSERT_TRUE(writer->Finish().ok());
    auto checkpoint = Checkpoint::Open(path_);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    checkpoint_ = std::make_unique<Checkpoint>(std::move(*checkpoint));
    auto read = ReadSensitivity(checkpoint_->metadata());
    ASSERT_TRUE(read.ok()) << read.status().message();
    table_ = *read;
  }
  void TearDown() override { std::filesystem::remove(path_); }

  const std::string path_ = testing::TempDir() + "sensitivity_table_" +
                            testing::UnitTest::GetInstance()->current_test_info()->name() + ".gguf";
  std::unique_ptr<Checkpoint> checkpoint_;
  SensitivityTable table_;
};

TEST_F(SensitivityTableTest, ShowsTypeAndItsDivergence) {
  SensitivityTable table;
  table.tensors = {"token_embd.weight", "blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.1.ffn_up.weight",
                   "blk.2.ffn_up.weight"};
  table.types = {DType::kQ4_K, DType::kQ8_0};
  table.divergence = {1e-2f, 1.25e-4f, 3e-3f, 2e-5f, 4e-3f, 5e-6f, kNan, 7e-6f, 1, 1};
  table.tokens = 4096;
  Write(table, {DType::kQ8_0, DType::kQ4_K, DType::kF16, DType::kQ4_K});  // the last tensor is not in the file
  EXPECT_EQ(SensitivityText(table_, *checkpoint_),
            "sensitivity: type, and mean KL divergence in nats with this tensor alone in it (4096 positions)\n"
            "       token_embd      \n"
            "       Q8_0 1.3e-04    \n"
            "layer  attn_q          ffn_up          \n"
            "0      Q4_K 3.0e-03                    \n"
            "1      F16 -           Q4_K -          \n"
            "2                      -               \n");
  JsonWriter json;
  WriteSensitivity(table_, *checkpoint_, &json);
  const boost::json::value value = boost::json::parse(json.Take());
  EXPECT_EQ(value.at("tokens").as_int64(), 4096);
  EXPECT_EQ(boost::json::serialize(value.at("types")), R"(["Q4_K","Q8_0"])");
  EXPECT_EQ(value.at("tensors").at(1).at("type").as_string(), "Q4_K");
  EXPECT_EQ(value.at("tensors").at(1).at("divergence").at(0).to_number<float>(), 3e-3f);
  EXPECT_TRUE(value.at("tensors").at(3).at("divergence").at(0).is_null());
  EXPECT_EQ(value.at("tensors").at(4).at("type").as_string(), "");
}

TEST_F(SensitivityTableTest, FitsIn120Columns) {
  SensitivityTable table;
  table.types = {DType::kIQ4_XS};
  for (int layer = 0; layer < 36; ++layer) {
    for (const char* kind : kKinds) table.tensors.push_back("blk." + std::to_string(layer) + "." + kind + ".weight");
    table.tensors.push_back("blk." + std::to_string(layer) + ".a_kind_with_a_name_longer_than_any_column.weight");
  }
  table.divergence.assign(table.tensors.size(), 1.5e-5f);
  Write(table, std::vector<DType>(table.tensors.size(), DType::kIQ4_XS));
  std::istringstream lines(SensitivityText(table_, *checkpoint_));
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_LE(line.size(), 120u) << line;
  EXPECT_EQ(count, 1u + 2 * 37);  // the eighth kind starts a second block
  EXPECT_THAT(lines.str(), HasSubstr("35     IQ4_XS 1.5e-05  IQ4_XS 1.5e-05"));
}

}  // namespace
}  // namespace inkstone

#include "compress/importance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "compress/test_util.h"
#include "formats/gguf_writer.h"

namespace inkstone {
namespace {

using testing::HasSubstr;

// Bytes of the older binary form.
class Binary {
 public:
  Binary& Int(int32_t value) { return Raw(&value, sizeof value); }
  Binary& Text(const std::string& text) {
    Int(static_cast<int32_t>(text.size()));
    return Raw(text.data(), text.size());
  }
  Binary& Floats(const std::vector<float>& values) {
    Int(static_cast<int32_t>(values.size()));
    return Raw(values.data(), values.size() * sizeof(float));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  Binary& Raw(const void* data, size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
    return *this;
  }
  std::string bytes_;
};

Result<Importance> Parse(const std::string& bytes) {
  return ParseImportance(std::as_bytes(std::span(bytes)), "x.imatrix");
}

std::string Refused(const std::string& bytes, StatusCode code = StatusCode::kDataLoss) {
  const Status status = Parse(bytes).status();
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_THAT(status.message(), HasSubstr("x.imatrix"));
  return status.message();
}

TEST(Importance, IsWrittenAndReadBack) {
  const TempFolder folder;
  Importance importance;
  importance["blk.0.attn_q.weight"] = {{0.5f, 2.0f, 0.0f}, 3072};
  importance["blk.35.attn_output.weight"] = {{1e-6f, 7.25f}, 100};
  ASSERT_TRUE(WriteImportance(folder / "a.gguf", importance, "wiki.txt").ok());
  const Result<Importance> back = ReadImportance(folder / "a.gguf");
  ASSERT_TRUE(back.ok()) << back.status().message();
  ASSERT_EQ(back->size(), 2u);
  for (const auto& [name, channels] : importance) {
    const ChannelImportance& found = back->at(name);
    EXPECT_EQ(found.tokens, channels.tokens);
    ASSERT_EQ(found.mean_square.size(), channels.mean_square.size());
    for (size_t i = 0; i < found.mean_square.size(); ++i) {
      EXPECT_FLOAT_EQ(found.mean_square[i], channels.mean_square[i]) << name;
    }
  }
  const Checkpoint file = MustOpen(folder / "a.gguf");
  EXPECT_EQ(file.metadata().GetString("general.type").value(), "imatrix");
  EXPECT_EQ(file.metadata().GetStrings("imatrix.datasets").value()[0], "wiki.txt");
  EXPECT_EQ(file.metadata().GetInt("imatrix.chunk_count").value(), 6);
  EXPECT_EQ(file.metadata().GetInt("imatrix.chunk_size").value(), 512);
  EXPECT_FLOAT_EQ(Values(file, "blk.0.attn_q.weight.in_sum2")[1], 6144.0f);
}

TEST(Importance, WritingRefusesWhatCannotBeReadBack) {
  const TempFolder folder;
  const auto refused = [&](const std::string& name, ChannelImportance channels) {
    const Status status = WriteImportance(folder / "a.gguf", {{name, std::move(channels)}}, "x");
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return status.message();
  };
  EXPECT_THAT(refused("a", {{}, 5}), HasSubstr("at least one column"));
  EXPECT_THAT(refused("a", {{1.0f}, 0}), HasSubstr("at least one token"));
  EXPECT_THAT(refused("a", {{-1.0f}, 5}), HasSubstr("at least 0"));
  EXPECT_THAT(refused(std::string(60, 'a'), {{1.0f}, 5}), HasSubstr("64 bytes"));
  EXPECT_FALSE(std::filesystem::exists(folder / "a.gguf"));
}

TEST(Importance, ReadsTheOlderBinaryForm) {
  Binary file;
  file.Int(2).Text("blk.0.attn_q.weight").Int(4).Floats({4.0f, 2.0f});  // values are mean * calls
  file.Text("blk.0.ffn_up.weight").Int(0).Floats({3.0f});               // no call: as it is
  const std::string oldest = file.bytes();
  for (const std::string& bytes : {oldest, file.Int(4).Text("wiki.train.raw").bytes()}) {
    const Result<Importance> importance = Parse(bytes);
    ASSERT_TRUE(importance.ok()) << importance.status().message();
    EXPECT_EQ(importance->size(), 2u);
    EXPECT_EQ(importance->at("blk.0.attn_q.weight").mean_square, (std::vector<float>{1.0f, 0.5f}));
    EXPECT_EQ(importance->at("blk.0.attn_q.weight").tokens, 4);
    EXPECT_EQ(importance->at("blk.0.ffn_up.weight").mean_square, (std::vector<float>{3.0f}));
  }
  for (size_t size = 0; size < file.bytes().size(); ++size) {
    if (size != oldest.size()) Refused(file.bytes().substr(0, size));
  }
}

TEST(Importance, BoundsHostileCounts) {
  constexpr int32_t kHuge = std::numeric_limits<int32_t>::max();
  EXPECT_THAT(Refused(Binary().Int(kHuge).Text("a").bytes()), HasSubstr("entry count at offset 0: expected 0 to 0"));
  EXPECT_THAT(Refused(Binary().Int(-1).Text("a").bytes()), HasSubstr("found -1"));
  EXPECT_THAT(Refused(Binary().Int(0).bytes()), HasSubstr("at least one entry"));
  EXPECT_THAT(Refused(Binary().Int(1).Int(kHuge).Text("name long enough").bytes()), HasSubstr("name length"));
  EXPECT_THAT(Refused(Binary().Int(1).Text("a").Int(1).Int(kHuge).Int(0).Int(0).bytes()), HasSubstr("value count"));
  EXPECT_THAT(Refused(Binary().Int(1).Text("some name").Int(1).Floats({}).bytes()), HasSubstr("at least one column"));
  EXPECT_THAT(Refused(Binary().Int(1).Text("a").Int(1).Floats({1.0f, NAN}).bytes()), HasSubstr("in column 1"));
  EXPECT_THAT(Refused(Binary().Int(1).Text("a").Int(1).Floats({1.0f, -1.0f}).bytes()), HasSubstr("at least 0"));
  EXPECT_THAT(
      Refused(Binary().Int(2).Text("a").Int(1).Floats({1.0f}).Text("a").Int(1).Floats({1.0f, 2.0f, 3.0f}).bytes()),
      HasSubstr("found it twice"));
  EXPECT_THAT(Refused(Binary().Int(1).Text("a").Int(1).Floats({1.0f, 2.0f}).Int(3).Text("set").Int(0).bytes()),
              HasSubstr("data set's name of 3 bytes at the end, found 7"));
}

struct Tensor {
  std::string name;
  std::vector<float> values;
  DType type = DType::kF32;
};

std::string Gguf(const TempFolder& folder, const std::string& type, const std::vector<Tensor>& tensors) {
  Metadata metadata;
  if (!type.empty()) metadata.SetString("general.type", type);
  std::vector<TensorInfo> infos;
  for (const Tensor& tensor : tensors) {
    TensorInfo info;
    info.name = tensor.name;
    info.dtype = tensor.type;
    info.shape = {static_cast<int64_t>(tensor.values.size())};
    infos.push_back(info);
  }
  Result<GgufWriter> writer = GgufWriter::Create(folder / "g.gguf", metadata, infos);
  for (const Tensor& tensor : tensors) {
    std::vector<std::byte> bytes(static_cast<size_t>(RowBytes(tensor.type, int64_t(tensor.values.size()))));
    EncodeRow(tensor.type, tensor.values.data(), int64_t(tensor.values.size()), bytes.data());
    EXPECT_TRUE(writer->Append(bytes).ok());
  }
  EXPECT_TRUE(writer->Finish().ok());
  return ReadFile(folder / "g.gguf");
}

TEST(Importance, ReadsTheGgufForm) {
  const TempFolder folder;
  const std::string file = Gguf(folder, "imatrix",
                                {{"a.in_sum2", {8.0f, 0.0f}},
                                 {"a.counts", {4.0f}},
                                 {"a.in_sum", {1.0f}},
                                 {"never.in_sum2", {0.0f}},
                                 {"never.counts", {0.0f}}});
  const Result<Importance> importance = Parse(file);
  ASSERT_TRUE(importance.ok()) << importance.status().message();
  EXPECT_EQ(importance->size(), 2u);
  EXPECT_EQ(importance->at("a").mean_square, (std::vector<float>{2.0f, 0.0f}));
  EXPECT_EQ(importance->at("a").tokens, 4);
  EXPECT_EQ(importance->at("never").mean_square, (std::vector<float>{1.0f}));
  EXPECT_EQ(importance->at("never").tokens, 0);
}

TEST(Importance, SaysWhatAGgufLacks) {
  const TempFolder folder;
  const Tensor sums{"a.in_sum2", {1.0f}};
  const Tensor counts{"a.counts", {1.0f}};
  EXPECT_THAT(Refused(Gguf(folder, "", {sums, counts})), HasSubstr("found none; is it a model?"));
  EXPECT_THAT(Refused(Gguf(folder, "model", {sums, counts})), HasSubstr("found \"model\""));
  EXPECT_THAT(Refused(Gguf(folder, "imatrix", {counts})), HasSubstr("*.in_sum2"));
  EXPECT_THAT(Refused(Gguf(folder, "imatrix", {sums})), HasSubstr("expected a tensor 'a.counts'"));
  EXPECT_THAT(Refused(Gguf(folder, "imatrix", {{"a.in_sum2", {1.0f}, DType::kF16}, counts})), HasSubstr("found F16"));
  EXPECT_THAT(Refused(Gguf(folder, "imatrix", {sums, {"a.counts", {1.0f, 2.0f}}}), StatusCode::kUnimplemented),
              HasSubstr("experts"));
  EXPECT_THAT(Refused(Gguf(folder, "imatrix", {sums, {"a.counts", {-1.0f}}})), HasSubstr("expected a count"));
  EXPECT_THAT(Refused(Gguf(folder, "imatrix", {{"a.in_sum2", {INFINITY}}, counts})), HasSubstr("found inf"));
  EXPECT_EQ(ReadImportance(folder / "none").status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace inkstone

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/gguf_reader.h"
#include "formats/gguf_writer.h"

namespace inkstone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

// A folder that goes away with the test.
class GgufTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / ("inkstone-gguf-" + std::string(info->name()) + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  fs::path folder_;
};

TensorInfo Describe(std::string name, DType dtype, std::vector<int64_t> shape) {
  TensorInfo tensor;
  tensor.name = std::move(name);
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  return tensor;
}

std::vector<std::byte> Pattern(size_t size, int seed) {
  std::vector<std::byte> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>((i * 7 + static_cast<size_t>(seed)) & 0xff);
  return out;
}

// Writes tensors whose bytes are Pattern(size, position).
Status WriteFile(const std::string& path, const Metadata& metadata, const std::vector<TensorInfo>& tensors) {
  INK_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(path, metadata, tensors));
  for (size_t i = 0; i < tensors.size(); ++i) {
    int64_t elements = 1;
    for (const int64_t dim : tensors[i].shape) elements *= dim;
    const auto bytes = Pattern(static_cast<size_t>(RowBytes(tensors[i].dtype, elements)), static_cast<int>(i));
    const auto all = std::span(bytes);
    INK_RETURN_IF_ERROR(writer.Append(all.first(all.size() / 3)));
    INK_RETURN_IF_ERROR(writer.Append(all.subspan(all.size() / 3)));
  }
  const uint64_t total = writer.total_bytes();
  if (writer.position() != total) return Internal("position " + std::to_string(writer.position()));
  INK_RETURN_IF_ERROR(writer.Finish());
  return fs::file_size(path) == total ? Status::Ok() : Internal("file size");
}

Metadata EveryType() {
  Metadata m("test");
  m.SetString("general.architecture", "qwen3");
  m.SetU32("u32", 4000000000u);
  m.SetF32("f32", 0.1f);
  m.SetBool("yes", true);
  m.SetView("u8", MetaValue{MetaType::kU8, int64_t{255}});
  m.SetView("i8", MetaValue{MetaType::kI8, int64_t{-128}});
  m.SetView("u16", MetaValue{MetaType::kU16, int64_t{65535}});
  m.SetView("i16", MetaValue{MetaType::kI16, int64_t{-32768}});
  m.SetView("i32", MetaValue{MetaType::kI32, int64_t{-5}});
  m.SetView("u64", MetaValue{MetaType::kU64, int64_t{1} << 62});
  m.SetView("i64", MetaValue{MetaType::kI64, -(int64_t{1} << 62)});
  m.SetView("f64", MetaValue{MetaType::kF64, 0.1});
  m.SetStrings("strings", std::vector<std::string>{"a", "", std::string("\0x", 2), "\xe4\xbd\xa0"});
  m.SetI32s("i32s", std::vector<int32_t>{1, -2, 3});
  m.SetView("bools", MetaValue{MetaType::kArray, MetaArray{MetaType::kBool, std::vector<int64_t>{1, 0}}});
  m.SetView("f32s", MetaValue{MetaType::kArray, MetaArray{MetaType::kF32, std::vector<double>{0.5, -2.0}}});
  m.SetView("f64s", MetaValue{MetaType::kArray, MetaArray{MetaType::kF64, std::vector<double>{0.1}}});
  m.SetView("u8s", MetaValue{MetaType::kArray, MetaArray{MetaType::kU8, std::vector<int64_t>{200}}});
  m.SetView("none", MetaValue{MetaType::kArray, MetaArray{MetaType::kU64, std::vector<int64_t>{}}});
  return m;
}

TEST_F(GgufTest, MetadataRoundTrips) {
  const Metadata written = EveryType();
  ASSERT_TRUE(WriteFile(Path("m.gguf"), written, {}).ok());
  const Result<Checkpoint> opened = Checkpoint::Open(Path("m.gguf"));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Metadata& read = opened->metadata();
  ASSERT_EQ(read.entries().size(), written.entries().size());
  for (size_t i = 0; i < read.entries().size(); ++i) {
    EXPECT_EQ(read.entries()[i].key, written.entries()[i].key);
    EXPECT_EQ(read.entries()[i].value.type, written.entries()[i].value.type) << read.entries()[i].key;
  }
  EXPECT_EQ(*read.GetInt("u32"), 4000000000);
  EXPECT_EQ(*read.GetFloat("f32"), static_cast<double>(0.1f));
  EXPECT_TRUE(*read.GetBool("yes"));
  EXPECT_EQ(*read.GetInt("u8"), 255);
  EXPECT_EQ(*read.GetInt("i8"), -128);
  EXPECT_EQ(*read.GetInt("u16"), 65535);
  EXPECT_EQ(*read.GetInt("i16"), -32768);
  EXPECT_EQ(*read.GetInt("i32"), -5);
  EXPECT_EQ(*read.GetInt("u64"), int64_t{1} << 62);
  EXPECT_EQ(*read.GetInt("i64"), -(int64_t{1} << 62));
  EXPECT_EQ(*read.GetFloat("f64"), 0.1);
  EXPECT_THAT(*read.GetStrings("strings"), ElementsAre("a", "", std::string("\0x", 2), "\xe4\xbd\xa0"));
  EXPECT_THAT(*read.GetInts("i32s"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*read.GetInts("bools"), ElementsAre(1, 0));
  EXPECT_THAT(*read.GetFloats("f32s"), ElementsAre(0.5, -2.0));
  EXPECT_THAT(*read.GetFloats("f64s"), ElementsAre(0.1));
  EXPECT_THAT(*read.GetInts("u8s"), ElementsAre(200));
  EXPECT_TRUE(read.GetInts("none")->empty());
}

TEST_F(GgufTest, TensorsOfEveryTypeRoundTrip) {
  std::vector<TensorInfo> tensors;
  for (const DTypeInfo& info : AllDTypes()) tensors.push_back(Describe(std::string(info.name), info.type, {3, 256}));
  tensors.push_back(Describe("vector", DType::kF32, {5}));
  tensors.push_back(Describe("four", DType::kF16, {2, 3, 5, 7}));
  ASSERT_TRUE(WriteFile(Path("t.gguf"), Metadata(), tensors).ok());
  const Result<Checkpoint> opened = Checkpoint::Open(Path("t.gguf"));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  ASSERT_EQ(opened->tensors().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& tensor = opened->tensors()[i];
    EXPECT_EQ(tensor.name, tensors[i].name);
    EXPECT_EQ(tensor.dtype, tensors[i].dtype);
    EXPECT_EQ(tensor.shape, tensors[i].shape);
    EXPECT_EQ(tensor.offset % kGgufAlignment, 0u);
    const auto expected = Pattern(tensor.bytes, static_cast<int>(i));
    const auto found = opened->Data(tensor);
    ASSERT_EQ(found.size(), expected.size());
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), expected.size()), 0) << tensor.name;
  }
}

TEST_F(GgufTest, WriterRefusesWhatDoesNotFit) {
  const std::vector<TensorInfo> one = {Describe("a", DType::kF32, {4})};
  const auto status = [&](const Metadata& metadata, std::vector<TensorInfo> tensors) {
    return GgufWriter::Create(Path("w.gguf"), metadata, std::move(tensors)).status();
  };
  Metadata narrow;
  narrow.SetView("k", MetaValue{MetaType::kU8, int64_t{256}});
  EXPECT_EQ(status(narrow, one).code(), StatusCode::kInvalidArgument);
  Metadata mixed;
  mixed.SetView("k", MetaValue{MetaType::kString, int64_t{1}});
  EXPECT_EQ(status(mixed, one).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status(Metadata(), {one[0], one[0]}).code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(status(Metadata(), {Describe(std::string(65, 'x'), DType::kF32, {4})}).ok());
  EXPECT_FALSE(status(Metadata(), {Describe("q", DType::kQ4_0, {33})}).ok());
  EXPECT_FALSE(fs::exists(Path("w.gguf")));
}

TEST_F(GgufTest, WriterCountsBytes) {
  Result<GgufWriter> writer = GgufWriter::Create(Path("w.gguf"), Metadata(),
                                                 {Describe("a", DType::kF32, {4}), Describe("b", DType::kF32, {1})});
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(writer->Append(Pattern(17, 0)).code(), StatusCode::kInternal);
  ASSERT_TRUE(writer->Append(Pattern(16, 0)).ok());
  const Status early = writer->Finish();
  EXPECT_EQ(early.code(), StatusCode::kInternal);
  EXPECT_THAT(early.message(), HasSubstr("\"b\": expected 4 bytes, found 0"));
  ASSERT_TRUE(writer->Append(Pattern(4, 0)).ok());
  EXPECT_EQ(writer->Append(Pattern(1, 0)).code(), StatusCode::kInternal);
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_TRUE(Checkpoint::Open(Path("w.gguf")).ok());
}

TEST_F(GgufTest, WriterGoesOnAfterTheLastCompleteTensor) {
  const std::vector<TensorInfo> tensors = {Describe("a", DType::kF32, {9}), Describe("b", DType::kF32, {4}),
                                           Describe("c", DType::kF32, {3})};
  Metadata metadata;
  metadata.SetString("general.architecture", "qwen3");
  const auto write = [&](Result<GgufWriter> writer, size_t from, bool finish) {
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    for (size_t i = from; i < tensors.size(); ++i) {
      ASSERT_TRUE(writer->Append(Pattern(4 * static_cast<size_t>(tensors[i].shape[0]), static_cast<int>(i))).ok());
    }
    EXPECT_EQ(writer->complete_tensors(), tensors.size());
    writer->KeepPart();
    if (finish) {
      EXPECT_TRUE(writer->Finish().ok());
    }
  };
  write(GgufWriter::Create(Path("whole"), metadata, tensors), 0, true);
  EXPECT_EQ(GgufWriter::FileBytes(metadata, tensors).value(), fs::file_size(Path("whole")));
  for (size_t complete = 0; complete <= tensors.size(); ++complete) {
    write(GgufWriter::Create(Path("cut"), metadata, tensors), 0, false);
    write(GgufWriter::Resume(Path("cut"), metadata, tensors, complete), complete, true);
    std::ifstream whole(Path("whole"), std::ios::binary);
    std::ifstream cut(Path("cut"), std::ios::binary);
    const std::string expected{std::istreambuf_iterator<char>(whole), {}};
    const std::string found{std::istreambuf_iterator<char>(cut), {}};
    EXPECT_TRUE(expected == found) << complete;
    fs::remove(Path("cut"));
  }
  EXPECT_EQ(GgufWriter::Resume(Path("cut"), metadata, tensors, 0).status().code(), StatusCode::kNotFound);
  write(GgufWriter::Create(Path("cut"), metadata, tensors), 0, false);
  EXPECT_EQ(GgufWriter::Resume(Path("cut"), metadata, tensors, 4).status().code(), StatusCode::kDataLoss);
  fs::resize_file(Path("cut.part"), fs::file_size(Path("cut.part")) - 1);
  EXPECT_EQ(GgufWriter::Resume(Path("cut"), metadata, tensors, 3).status().code(), StatusCode::kDataLoss);
  metadata.SetString("general.architecture", "qwen2");
  EXPECT_EQ(GgufWriter::Resume(Path("cut"), metadata, tensors, 1).status().code(), StatusCode::kDataLoss);
}

Metadata SplitKeys(int64_t part, int64_t count, int64_t tensors) {
  Metadata m;
  m.SetString("general.architecture", "qwen3");
  m.SetView("split.no", MetaValue{MetaType::kU16, part});
  m.SetView("split.count", MetaValue{MetaType::kU16, count});
  m.SetView("split.tensors.count", MetaValue{MetaType::kI32, tensors});
  return m;
}

// Header of a GGUF with the keys above, which GgufWriter leaves out, and one F32 tensor.
void WritePart(const std::string& path, const Metadata& metadata, const std::string& tensor) {
  std::string out = "GGUF";
  const auto put = [&](auto value) { out.append(reinterpret_cast<const char*>(&value), sizeof(value)); };
  const auto text = [&](std::string_view t) {
    put(uint64_t{t.size()});
    out.append(t);
  };
  put(uint32_t{3});
  put(uint64_t{1});
  put(uint64_t{metadata.entries().size()});
  for (const auto& entry : metadata.entries()) {
    text(entry.key);
    put(static_cast<uint32_t>(entry.value.type));
    if (const auto* s = std::get_if<std::string_view>(&entry.value.value)) text(*s);
    if (entry.value.type == MetaType::kU16) put(static_cast<uint16_t>(std::get<int64_t>(entry.value.value)));
    if (entry.value.type == MetaType::kI32) put(static_cast<int32_t>(std::get<int64_t>(entry.value.value)));
  }
  text(tensor);
  put(uint32_t{1});
  put(uint64_t{8});
  put(uint32_t{0});
  put(uint64_t{0});
  out.resize((out.size() + 31) / 32 * 32 + 32, tensor.back());
  std::ofstream(path, std::ios::binary) << out;
}

TEST_F(GgufTest, SplitModelIsOneCheckpoint) {
  WritePart(Path("m-00001-of-00002.gguf"), SplitKeys(0, 2, 2), "a");
  WritePart(Path("m-00002-of-00002.gguf"), SplitKeys(1, 2, 2), "b");
  const Result<Checkpoint> opened = Checkpoint::Open(Path("m-00001-of-00002.gguf"));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  ASSERT_EQ(opened->tensors().size(), 2u);
  EXPECT_EQ(opened->files().size(), 2u);
  EXPECT_EQ(static_cast<char>(opened->Data(*opened->Find("a"))[0]), 'a');
  EXPECT_EQ(static_cast<char>(opened->Data(*opened->Find("b"))[0]), 'b');
  EXPECT_EQ(opened->metadata().Find("split.count"), nullptr);

  EXPECT_THAT(Checkpoint::Open(Path("m-00002-of-00002.gguf")).status().message(), HasSubstr("open the first part"));
}

TEST_F(GgufTest, SplitModelsThatDoNotFitAreErrors) {
  const auto open = [&] { return Checkpoint::Open(Path("m-00001-of-00002.gguf")).status().message(); };
  WritePart(Path("m-00001-of-00002.gguf"), SplitKeys(0, 2, 2), "a");
  EXPECT_THAT(open(), HasSubstr("m-00002-of-00002.gguf: expected a GGUF file, found no such file"));
  WritePart(Path("m-00002-of-00002.gguf"), SplitKeys(1, 3, 2), "b");
  EXPECT_THAT(open(), HasSubstr("as in the first part"));
  WritePart(Path("m-00002-of-00002.gguf"), SplitKeys(0, 2, 2), "b");
  EXPECT_THAT(open(), HasSubstr("split.no: expected 1, found 0"));
  WritePart(Path("m-00002-of-00002.gguf"), SplitKeys(1, 2, 2), "a");
  EXPECT_THAT(open(), HasSubstr("\"a\": expected unique names"));
  WritePart(Path("m-00001-of-00002.gguf"), SplitKeys(0, 2, 3), "a");
  WritePart(Path("m-00002-of-00002.gguf"), SplitKeys(1, 2, 3), "b");
  EXPECT_THAT(open(), HasSubstr("split.tensors.count: expected 3, found 2"));
  WritePart(Path("plain.gguf"), SplitKeys(0, 2, 2), "a");
  EXPECT_THAT(Checkpoint::Open(Path("plain.gguf")).status().message(), HasSubstr("split.count is 2"));
}

TEST(GgufPartPathTest, NamesParts) {
  EXPECT_EQ(GgufPartPath("dir/m-00001-of-00003.gguf", 2, 3), "dir/m-00003-of-00003.gguf");
  EXPECT_EQ(GgufPartPath("m-00001-of-00003.gguf", 1, 2), "");
  EXPECT_EQ(GgufPartPath("m.gguf", 1, 3), "");
}

}  // namespace
}  // namespace inkstone

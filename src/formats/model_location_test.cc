#include "formats/model_location.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace inkstone {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ModelLocationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / ("inkstone-place-" + std::string(info->name()) + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void Touch(const std::string& name, const std::string& text = "") const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  // What `name` stands for, relative to the folder; or the error.
  std::string Found(const std::string& name) const {
    const auto found = LocateModel(Path(name));
    return found.ok() ? fs::path(*found).lexically_relative(folder_).string() : found.status().message();
  }

  fs::path folder_;
};

TEST_F(ModelLocationTest, FilesAndModelFoldersStandForThemselves) {
  Touch("m.gguf");
  Touch("hf/config.json");
  Touch("hf/model.safetensors");
  Touch("hf/also.gguf");
  Touch("text/readme.md");
  EXPECT_EQ(Found("m.gguf"), "m.gguf");
  EXPECT_EQ(Found("hf"), "hf");
  EXPECT_EQ(Found("text"), "text");
  EXPECT_EQ(Found("missing"), "missing");
}

TEST_F(ModelLocationTest, TheOnlyGgufOfAFolderIsMeant) {
  Touch("one/config.json");
  Touch("one/mmproj-f16.gguf");
  Touch("one/m-00001-of-00002.gguf");
  Touch("one/m-00002-of-00002.gguf");
  EXPECT_EQ(Found("one"), "one/m-00001-of-00002.gguf");
  Touch("one/q4.gguf");
  EXPECT_THAT(Found("one"), HasSubstr("one: expected one model, found 2 GGUF models: m-00001-of-00002.gguf, q4.gguf; "
                                      "name one of them, such as " +
                                      Path("one/m-00001-of-00002.gguf")));
}

TEST_F(ModelLocationTest, TheHubsCacheMeansItsSnapshot) {
  const std::string hub = "hub/models--Qwen--Qwen3-4B";
  Touch(hub + "/snapshots/aa/model.safetensors.index.json");
  Touch(hub + "/snapshots/aa/config.json");
  EXPECT_EQ(Found(hub), hub + "/snapshots/aa");
  EXPECT_EQ(Found("hub"), hub + "/snapshots/aa");
  EXPECT_EQ(ModelNameOf(Path(hub + "/snapshots/aa")), "Qwen3-4B");
  Touch(hub + "/snapshots/bb/q8.gguf");
  EXPECT_THAT(Found(hub), HasSubstr("expected one model, found 2 snapshots: aa, bb"));
  Touch(hub + "/refs/main", "bb\n");
  EXPECT_EQ(Found(hub), hub + "/snapshots/bb/q8.gguf");
  Touch(hub + "/refs/main", "../../../etc");
  EXPECT_THAT(Found(hub), HasSubstr("found 2 snapshots"));
  Touch("hub/models--a--b/snapshots/cc/m.gguf");
  EXPECT_THAT(Found("hub"),
              HasSubstr("found 2 models of the Hugging Face cache: models--Qwen--Qwen3-4B, models--a--b"));
}

TEST_F(ModelLocationTest, FoldersOfModelsAreListed) {
  Touch("all/a/model.safetensors");
  Touch("all/b/model.safetensors");
  Touch("all/c/notes.txt");
  EXPECT_THAT(Found("all"), HasSubstr("found 2 folders with models: a, b; name one of them"));
  EXPECT_EQ(ModelNameOf(Path("all/a/")), "a");
}

TEST_F(ModelLocationTest, ALoopOfCachesEnds) {
  fs::create_directories(folder_ / "models--x--y" / "snapshots" / "aa");
  fs::create_directory_symlink(folder_, folder_ / "models--x--y" / "snapshots" / "aa" / "models--x--y");
  EXPECT_TRUE(LocateModel(folder_.string()).ok());
}

}  // namespace
}  // namespace inkstone

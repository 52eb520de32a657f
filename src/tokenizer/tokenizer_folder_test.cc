#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "formats/tensor_layout.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kModel = fs::path(INKSTONE_SOURCE_DIR) / "tests/data/tiny-qwen3";

// A folder with a tokenizer and nothing else.
class TokenizerFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("inkstone_tokenizer_" + std::to_string(getpid()) + "_" +
                                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    fs::copy_file(kModel / "tokenizer.json", folder_ / "tokenizer.json");
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Refusal() const { return Tokenizer::FromFolder(folder_.string()).status().message(); }

  fs::path folder_;
};

TEST_F(TokenizerFolderTest, NeedsNeitherWeightsNorConfig) {
  const auto tokenizer = Tokenizer::FromFolder(folder_.string());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const auto tokens = (*tokenizer)->Encode("Hello", SpecialText::kPlain);
  EXPECT_EQ((*tokenizer)->Decode(tokens, false), "Hello");
}

TEST_F(TokenizerFolderTest, WhatIsNoRegularFileIsRefusedAndNotWaitedFor) {
  for (const char* name :
       {"tokenizer_config.json", "generation_config.json", "config.json", "chat_template.jinja", "tokenizer.json"}) {
    fs::remove(folder_ / name);
    ASSERT_EQ(::mkfifo((folder_ / name).c_str(), 0600), 0);
    EXPECT_THAT(Refusal(), HasSubstr(name));
    EXPECT_THAT(Refusal(), HasSubstr("not a regular file"));
    fs::remove(folder_ / name);
  }
}

TEST_F(TokenizerFolderTest, FilesHaveALimit) {
  std::ofstream(folder_ / "tokenizer_config.json") << "{}";
  fs::resize_file(folder_ / "tokenizer_config.json", kMaxConfigBytes + 1);
  EXPECT_THAT(Refusal(), HasSubstr("tokenizer_config.json: expected at most 16777216 bytes, found 16777217"));
  fs::remove(folder_ / "tokenizer_config.json");
  fs::resize_file(folder_ / "tokenizer.json", kMaxTokenizerBytes + 1);
  EXPECT_THAT(Refusal(), HasSubstr("tokenizer.json: expected at most"));
}

}  // namespace
}  // namespace inkstone

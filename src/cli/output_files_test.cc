#include "cli/output_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace inkstone {
namespace {

namespace fs = std::filesystem;

class OutputFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("inkstone_outputs_" + std::to_string(getpid()));
    fs::create_directories(folder_);
    std::ofstream(Path("model")) << "weights";
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string Refusal(const std::string& output) const {
    return CheckOutputFiles({{"--report", output}}, {{"SRC", Path("model")}, {"--imatrix", ""}}).message();
  }

  fs::path folder_;
};

TEST_F(OutputFilesTest, NewFilesAndRegularOnesAreFine) {
  std::ofstream(Path("old")) << "a report";
  EXPECT_EQ(Refusal(Path("new")), "");
  EXPECT_EQ(Refusal(Path("old")), "");
  EXPECT_EQ(Refusal(""), "");
}

TEST_F(OutputFilesTest, AnInputUnderAnyNameIsRefused) {
  fs::create_hard_link(Path("model"), Path("hard"));
  fs::create_symlink("model", Path("soft"));
  for (const char* name : {"model", "hard", "soft", "./model", "../model"}) {
    const std::string path = std::string(name) == "../model" ? Path("x/../model") : Path(name);
    EXPECT_NE(Refusal(path).find("--report: " + path + " is the file of SRC too"), std::string::npos) << Refusal(path);
  }
}

TEST_F(OutputFilesTest, TwoOutputsAreTwoFiles) {
  const auto message = [&](const std::string& second) {
    return CheckOutputFiles({{"-o", Path("a")}, {"--report", second}}, {}).message();
  };
  EXPECT_NE(message(Path("./a")).find("is the file of -o too"), std::string::npos);
  EXPECT_EQ(message(Path("b")), "");
}

TEST_F(OutputFilesTest, PipesAndFoldersAreRefused) {
  ASSERT_EQ(::mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_NE(Refusal(Path("pipe")).find("a named pipe"), std::string::npos);
  EXPECT_NE(Refusal(folder_.string()).find("a folder"), std::string::npos);
}

}  // namespace
}  // namespace inkstone

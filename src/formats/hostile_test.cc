// Every damaged file of tests/hostile/formats gives the error that expected.tsv names, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "formats/checkpoint.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;

const std::string kFolder = INKSTONE_SOURCE_DIR "/tests/hostile/formats/";

TEST(HostileFilesTest, EachGivesItsError) {
  std::ifstream table(kFolder + "expected.tsv");
  std::set<std::string> cases;
  for (std::string line; std::getline(table, line);) {
    const size_t tab = line.find('\t');
    ASSERT_NE(tab, std::string::npos) << line;
    const std::string path = line.substr(0, tab);
    const std::string words = line.substr(tab + 1);
    cases.insert(path);
    const Status status = Checkpoint::Open(kFolder + path).status();
    EXPECT_FALSE(status.ok()) << path;
    EXPECT_THAT(status.message(), ::testing::StartsWith(kFolder + path.substr(0, path.find('/')))) << path;
    EXPECT_THAT(status.message(), ::testing::HasSubstr(words)) << path;
    EXPECT_LT(status.message().size(), 1000u) << path;
  }
  // Nothing in the folder goes unopened.
  size_t found = 0;
  for (const auto& kind : fs::directory_iterator(kFolder)) {
    if (!kind.is_directory()) continue;
    for (const auto& entry : fs::directory_iterator(kind)) {
      ++found;
      EXPECT_TRUE(cases.contains(fs::relative(entry, kFolder).string())) << entry;
    }
  }
  EXPECT_EQ(found, cases.size());
  EXPECT_GT(found, 150u);
}

}  // namespace
}  // namespace inkstone

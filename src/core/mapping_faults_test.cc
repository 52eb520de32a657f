#include "core/mapping_faults.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/mapped_file.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;

class MappingFaultsDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    std::ofstream(path_) << std::string(3 << 16, 'x');
  }
  void TearDown() override { fs::remove(path_); }

  // Cuts the file and touches what is gone.
  void TouchWhatIsGone(MappedFile file) const {
    InstallMappingFaultHandler();
    fs::resize_file(path_, 4096);
    const auto touch = [&] { ::_exit(static_cast<int>(file.bytes()[2 << 16])); };
    std::thread(touch).join();
  }

  const std::string path_ = ::testing::TempDir() + "mapping_faults_test.gguf";
};

TEST_F(MappingFaultsDeathTest, TheFileThatWasCutIsNamed) {
  EXPECT_EXIT(TouchWhatIsGone(std::move(*MappedFile::Open(path_))), ::testing::ExitedWithCode(1),
              "mapping_faults_test.gguf: the file was cut or overwritten while it was in use");
}

TEST_F(MappingFaultsDeathTest, AnyOtherFaultEndsTheProcessAsEver) {
  const auto raised = [] {
    InstallMappingFaultHandler();
    ::raise(SIGBUS);
  };
  EXPECT_EXIT(raised(), ::testing::KilledBySignal(SIGBUS), "");
  const auto foreign = [this] {
    InstallMappingFaultHandler();
    { const auto forgotten = MappedFile::Open(path_); }
    std::FILE* file = std::fopen(path_.c_str(), "rb");
    void* data = ::mmap(nullptr, 3 << 16, PROT_READ, MAP_SHARED, ::fileno(file), 0);
    fs::resize_file(path_, 4096);
    ::_exit(static_cast<const char*>(data)[2 << 16]);
  };
  EXPECT_EXIT(foreign(), ::testing::KilledBySignal(SIGBUS), "");
}

TEST_F(MappingFaultsDeathTest, MoreMappingsThanThereIsRoomForAreHarmless) {
  std::vector<MappedFile> files;
  for (size_t i = 0; i < kMostMappings + 8; ++i) files.push_back(std::move(*MappedFile::Open(path_)));
  files.clear();
  EXPECT_EXIT(TouchWhatIsGone(std::move(*MappedFile::Open(path_))), ::testing::ExitedWithCode(1), "cut or overwritten");
}

}  // namespace
}  // namespace inkstone

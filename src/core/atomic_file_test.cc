#include "core/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "core/locked_file.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("inkstone_atomic_" + std::to_string(getpid()) + "_" +
                                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string Text(const std::string& name) const {
    std::ifstream in(Path(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static Status WriteAll(const std::string& path, const std::string& text) {
    INK_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
    INK_RETURN_IF_ERROR(file.Write(text.data(), text.size()));
    return file.Commit();
  }
  // Refused by a message that says what it is; `name` stays what it was, and nothing is left.
  void ExpectRefused(const std::string& name, const std::string& kind) const {
    struct stat before {
    }, after{};
    ASSERT_EQ(::lstat(Path(name).c_str(), &before), 0);
    const Status status = WriteAll(Path(name), "text");
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(Path(name)), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(kind), std::string::npos) << status.message();
    ASSERT_EQ(::lstat(Path(name).c_str(), &after), 0);
    EXPECT_EQ(before.st_ino, after.st_ino);
    EXPECT_EQ(before.st_mode, after.st_mode);
    EXPECT_FALSE(fs::exists(Path(name + ".part")));
  }

  fs::path folder_;
};

TEST_F(AtomicFileTest, ReplacesNothingButRegularFiles) {
  ASSERT_EQ(::mkfifo(Path("pipe").c_str(), 0600), 0);
  ExpectRefused("pipe", "a named pipe");
  fs::create_directory(Path("folder"));
  ExpectRefused("folder", "a folder");
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::strncpy(address.sun_path, Path("socket").c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(socket);
  ExpectRefused("socket", "a socket");
  if (::mknod(Path("device").c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0) {  // who is not root may not
    ExpectRefused("device", "a device");
  }
}

TEST_F(AtomicFileTest, ALinkStaysAndItsTargetIsReplaced) {
  fs::create_directory(Path("elsewhere"));
  fs::create_symlink("elsewhere/file", Path("link"));
  fs::create_symlink(Path("link"), Path("second"));
  for (const char* text : {"new", "newer"}) {  // a target that is not there yet, and one that is
    ASSERT_TRUE(WriteAll(Path("second"), text).ok());
    EXPECT_TRUE(fs::is_symlink(Path("link")));
    EXPECT_TRUE(fs::is_symlink(Path("second")));
    EXPECT_FALSE(fs::is_symlink(Path("elsewhere/file")));
    EXPECT_EQ(Text("elsewhere/file"), text);
  }
  const auto open = AtomicFile::Create(Path("link"));
  EXPECT_TRUE(fs::exists(Path("elsewhere/file.part")));
}

TEST_F(AtomicFileTest, LinksToOtherThingsAndCirclesAreRefused) {
  ASSERT_EQ(::mkfifo(Path("pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", Path("link"));
  ExpectRefused("link", "a named pipe");
  fs::create_symlink("b", Path("a"));
  fs::create_symlink("a", Path("b"));
  ExpectRefused("a", "circle");
}

TEST_F(AtomicFileTest, ThePartFileIsNeverAnothersFile) {
  std::ofstream(Path("precious")) << "precious";
  fs::create_symlink("precious", Path("out.part"));
  EXPECT_EQ(WriteAll(Path("out"), "text").code(), StatusCode::kInvalidArgument);
  fs::remove(Path("out.part"));
  fs::create_hard_link(Path("precious"), Path("out.part"));
  EXPECT_EQ(WriteAll(Path("out"), "text").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(AtomicFile::Resume(Path("out"), 1).status().code(), StatusCode::kInvalidArgument);
  fs::remove(Path("out.part"));
  ASSERT_EQ(::mkfifo(Path("out.part").c_str(), 0600), 0);
  EXPECT_EQ(WriteAll(Path("out"), "text").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Text("precious"), "precious");
  EXPECT_FALSE(fs::exists(Path("out")));
}

TEST_F(AtomicFileTest, APartFileThatWasLeftBehindIsOverwritten) {
  std::ofstream(Path("out.part")) << "a long text that a killed run left";
  ASSERT_TRUE(WriteAll(Path("out"), "short").ok());
  EXPECT_EQ(Text("out"), "short");
}

TEST_F(AtomicFileTest, OneRunAtATimeWrites) {
  auto first = AtomicFile::Create(Path("out"));
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(first->Write("first", 5).ok());
  const Status second = AtomicFile::Create(Path("out")).status();
  EXPECT_EQ(second.code(), StatusCode::kUnavailable);
  EXPECT_NE(second.message().find("another run is writing"), std::string::npos) << second.message();
  EXPECT_EQ(AtomicFile::Resume(Path("out"), 0).status().code(), StatusCode::kUnavailable);
  ASSERT_TRUE(first->Commit().ok());
  EXPECT_EQ(Text("out"), "first");
  EXPECT_TRUE(WriteAll(Path("out"), "third").ok());
}

TEST_F(AtomicFileTest, WhatBecomesADeviceMeanwhileIsNotReplaced) {
  auto file = AtomicFile::Create(Path("out"));
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(::mkfifo(Path("out").c_str(), 0600), 0);
  EXPECT_EQ(file->Commit().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(fs::is_fifo(Path("out")));
}

TEST_F(AtomicFileTest, APartFileThatWasReplacedIsNotRenamed) {
  auto file = AtomicFile::Create(Path("out"));
  ASSERT_TRUE(file.ok());
  fs::remove(Path("out.part"));
  std::ofstream(Path("out.part")) << "another's";
  EXPECT_EQ(file->Commit().code(), StatusCode::kInternal);
  EXPECT_FALSE(fs::exists(Path("out")));
}

TEST_F(AtomicFileTest, GoesOnOnlyWithWhatBeginsAsExpected) {
  std::ofstream(Path("out.part")) << "head and more";
  EXPECT_EQ(AtomicFile::Resume(Path("out"), 6, "other").status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(Text("out.part"), "head and more");
  auto file = AtomicFile::Resume(Path("out"), 5, "head");
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(Text("out"), "head ");
}

// Every finished file is whole, whoever wrote it.
TEST_F(AtomicFileTest, RacesLeaveWholeFiles) {
  constexpr size_t kBytes = 1 << 16;
  for (int round = 0; round < 40; ++round) {
    std::atomic<int> good{0};
    std::vector<std::thread> writers;
    for (char c : {'a', 'b', 'c'}) {
      writers.emplace_back([&, c] { good += WriteAll(Path("out"), std::string(kBytes, c)).ok() ? 1 : 0; });
    }
    for (std::thread& writer : writers) writer.join();
    const std::string text = Text("out");
    EXPECT_GE(good.load(), 1);
    ASSERT_EQ(text, std::string(kBytes, text.empty() ? ' ' : text[0]));
    EXPECT_FALSE(fs::exists(Path("out.part")));
  }
}

TEST_F(AtomicFileTest, OutputLockIsHeldByOneAndLeavesNothing) {
  {
    auto first = OutputLock::Take(Path("out"));
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(OutputLock::Take(Path("out")).status().code(), StatusCode::kUnavailable);
    const OutputLock moved = std::move(*first);
    EXPECT_EQ(OutputLock::Take(Path("out")).status().code(), StatusCode::kUnavailable);
  }
  EXPECT_TRUE(fs::is_empty(folder_));
  EXPECT_TRUE(OutputLock::Take(Path("out")).ok());
}

TEST_F(AtomicFileTest, AFullDiskIsReported) {
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{4, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = WriteAll(Path("full"), "more than four bytes");
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("full"), std::string::npos);
}

}  // namespace
}  // namespace inkstone

#include "core/memory_probe.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/mapped_file.h"
#include "core/memory_info.h"
#include "core/process_limits.h"

namespace inkstone {
namespace {

TEST(ProcFile, NumbersAreFoundByWholeNames) {
  const std::string text = "MemTotal:       123 kB\ninactive_file 45\nactive_file 67\ntotal_active_file 89\n";
  EXPECT_EQ(NumberAfter(text, "MemTotal"), 123u);
  EXPECT_EQ(NumberAfter(text, "active_file"), 67u);
  EXPECT_EQ(NumberAfter(text, "total_active_file"), 89u);
  EXPECT_EQ(NumberAfter(text, "Mem"), 0u);
  EXPECT_EQ(NumberAfter(text, "file"), 0u);
}

TEST(ProcFile, IsReadAgainFromItsBeginning) {
  const std::string path = ::testing::TempDir() + "/proc_file_" + std::to_string(getpid());
  std::ofstream(path) << "12\n";
  ProcFile file(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file.ReadNumber(), 12u);
  std::ofstream(path) << "max\n";
  EXPECT_FALSE(file.ReadNumber());
  std::filesystem::remove(path);
  EXPECT_FALSE(ProcFile("/nowhere/at/all").ok());
  EXPECT_TRUE(ProcFile("/nowhere/at/all").Read().empty());
}

TEST(MemoryProbe, SeesWhatThisProcessTakes) {
  MemoryProbe probe;
  const MemorySample before = probe.Read();
  EXPECT_NEAR(static_cast<double>(before.resident), static_cast<double>(GetProcessMemory().resident), 8e6);
  EXPECT_GT(before.file_resident, 0u);
  EXPECT_LT(before.file_resident, before.resident);
  EXPECT_GT(before.total, before.available);
  constexpr size_t kBytes = 64 << 20;
  void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const std::span<const std::byte> span(static_cast<const std::byte*>(memory), kBytes);
  EXPECT_EQ(ResidentBytes(span), 0u);
  std::memset(memory, 1, kBytes / 2);
  EXPECT_EQ(ResidentBytes(span), kBytes / 2);
#if !defined(__SANITIZE_THREAD__)  // which keeps a record of every byte
  EXPECT_NEAR(static_cast<double>(probe.Read().resident - before.resident), kBytes / 2.0, 4e6);
#endif
  ::munmap(memory, kBytes);
}

TEST(MemoryProbe, OfAMappedFileOnlyWhatWasReadIsResident) {
  const std::string path = ::testing::TempDir() + "/mapped_" + std::to_string(getpid());
  constexpr size_t kBytes = 16 << 20;
  std::ofstream(path) << std::string(kBytes, 'x');
  {
    const auto file = MappedFile::Open(path);
    ASSERT_TRUE(file.ok());
    const std::span<const std::byte> mapping = file->bytes();
    EXPECT_LT(MappedResidentBytes(std::span(&mapping, 1)), kBytes / 2);
    EXPECT_EQ(std::count(mapping.begin(), mapping.end(), std::byte{'x'}), static_cast<std::ptrdiff_t>(kBytes));
    EXPECT_EQ(MappedResidentBytes(std::span(&mapping, 1)), kBytes);
  }
  std::filesystem::remove(path);
}

class GroupTest : public ::testing::Test {
 protected:
  GroupTest() { std::filesystem::create_directories(folder_); }
  ~GroupTest() override { std::filesystem::remove_all(folder_); }
  void Put(const std::string& name, const std::string& text) const { std::ofstream(folder_ + "/" + name) << text; }

  const std::string folder_ = ::testing::TempDir() + "/group_" + std::to_string(getpid());
};

TEST_F(GroupTest, LimitsOfVersion2AreRead) {
  Put("memory.max", "1000\n");
  Put("memory.high", "max\n");
  Put("memory.current", "700\n");
  Put("memory.stat", "anon 1\ninactive_file 100\nactive_file 200\nfile 5\n");
  Put("memory.pressure", "some avg10=9.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=12.34 avg60=0.00 total=0\n");
  MemoryProbe probe({{folder_, true}});
  MemorySample sample = probe.Read();
  EXPECT_EQ(sample.group_limit, 1000u);
  EXPECT_EQ(sample.group_used, 400u);
  EXPECT_EQ(sample.group_cache, 300u);
  EXPECT_DOUBLE_EQ(sample.stalled, 12.34);
  Put("memory.high", "900\n");  // changed while it runs
  Put("memory.current", "300\n");
  sample = probe.Read();
  EXPECT_EQ(sample.group_limit, 900u);
  EXPECT_EQ(sample.group_used, 0u);
  Put("memory.max", "max\n");
  Put("memory.high", "max\n");
  EXPECT_EQ(probe.Read().group_limit, kNoMemoryLimit);
}

TEST_F(GroupTest, LimitsOfVersion1AreRead) {
  Put("memory.limit_in_bytes", "5000\n");
  Put("memory.usage_in_bytes", "4000\n");
  Put("memory.stat", "inactive_file 7\ntotal_inactive_file 1000\ntotal_active_file 500\n");
  MemoryProbe probe({{folder_, false}, {"/nowhere", true}});
  const MemorySample sample = probe.Read();
  EXPECT_EQ(sample.group_limit, 5000u);
  EXPECT_EQ(sample.group_used, 2500u);
  EXPECT_EQ(sample.group_cache, 1500u);
  Put("memory.limit_in_bytes", "9223372036854771712\n");  // its way to say unlimited
  EXPECT_EQ(probe.Read().group_limit, kNoMemoryLimit);
}

TEST(ProcessLimits, NewThreadsHaveSmallStacks) {
  KeepAddressSpaceSmall();
  size_t bytes = 0;
  // Not of a thread: that may get the larger stack that a thread of an earlier test has left.
  pthread_attr_t attributes;
  ASSERT_EQ(::pthread_getattr_default_np(&attributes), 0);
  ::pthread_attr_getstacksize(&attributes, &bytes);
  ::pthread_attr_destroy(&attributes);
  EXPECT_EQ(bytes, 2u << 20);
}

}  // namespace
}  // namespace inkstone

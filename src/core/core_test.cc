#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "core/atomic_file.h"
#include "core/cpu_info.h"
#include "core/dtype.h"
#include "core/half.h"
#include "core/mapped_file.h"
#include "core/memory_info.h"
#include "core/units.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;

// A folder of its own for each test, removed at the end.
class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("inkstone_core_" + std::to_string(getpid()) + "_" +
                                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  fs::path folder_;
};

TEST_F(FileTest, MappedFileShowsTheBytes) {
  std::ofstream(Path("a")) << "inkstone";
  auto file = MappedFile::Open(Path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->size(), 8u);
  EXPECT_EQ(static_cast<char>(file->bytes()[3]), 's');
  MappedFile moved = std::move(*file);
  moved.DontNeed(0, 8);
  EXPECT_EQ(static_cast<char>(moved.bytes()[7]), 'e');
}

TEST_F(FileTest, MappedFileNamesWhatIsWrong) {
  const auto missing = MappedFile::Open(Path("none"));
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("none"), std::string::npos);
  EXPECT_EQ(MappedFile::Open(folder_.string()).status().code(), StatusCode::kInvalidArgument);
  std::ofstream(Path("empty")).close();
  EXPECT_EQ(MappedFile::Open(Path("empty")).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(FileTest, AtomicFileAppearsOnlyWhenCommitted) {
  std::ofstream(Path("out")) << "old";
  {
    auto file = AtomicFile::Create(Path("out"));
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Write("new", 3).ok());
  }
  EXPECT_FALSE(fs::exists(Path("out.part")));
  EXPECT_EQ(fs::file_size(Path("out")), 3u);
  auto file = AtomicFile::Create(Path("out"));
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->Write("newer", 5).ok());
  EXPECT_EQ(file->position(), 5u);
  ASSERT_TRUE(file->Commit().ok());
  std::ifstream in(Path("out"));
  std::string text;
  in >> text;
  EXPECT_EQ(text, "newer");
  EXPECT_FALSE(fs::exists(Path("out.part")));
}

TEST_F(FileTest, AtomicFileGoesOnWhereAnEarlierOneStopped) {
  {
    auto file = AtomicFile::Create(Path("out"));
    ASSERT_TRUE(file->Write("abcdef", 6).ok());
    ASSERT_TRUE(file->Sync().ok());
    file->KeepPart();
    const AtomicFile moved = std::move(*file);
  }
  EXPECT_EQ(fs::file_size(Path("out.part")), 6u);
  EXPECT_EQ(AtomicFile::Resume(Path("out"), 7).status().code(), StatusCode::kDataLoss);
  {
    auto file = AtomicFile::Resume(Path("out"), 4);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(file->position(), 4u);
    ASSERT_TRUE(file->Write("xy", 2).ok());
    ASSERT_TRUE(file->Commit().ok());
  }
  std::ifstream in(Path("out"));
  std::string text;
  in >> text;
  EXPECT_EQ(text, "abcdxy");
  EXPECT_EQ(AtomicFile::Resume(Path("out"), 0).status().code(), StatusCode::kNotFound);
}

TEST(HalfTest, EveryF16SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = F16ToF32(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(F16ToF32(F32ToF16(value))));
    } else {
      ASSERT_EQ(F32ToF16(value), bits) << bits;
    }
  }
}

TEST(HalfTest, RoundsToNearestEven) {
  EXPECT_EQ(F32ToF16(1.0f + 0x1p-11f), 0x3c00);      // halfway, to even
  EXPECT_EQ(F32ToF16(1.0f + 3 * 0x1p-11f), 0x3c02);  // halfway, to even
  EXPECT_EQ(F32ToF16(65519.0f), 0x7bff);             // below halfway to 65536
  EXPECT_EQ(F32ToF16(65520.0f), 0x7c00);             // infinity
  EXPECT_EQ(F32ToF16(0x1p-25f), 0x0000);             // halfway to the least subnormal
  EXPECT_EQ(F32ToF16(std::nextafter(0x1p-25f, 1.0f)), 0x0001);
  EXPECT_EQ(F32ToF16(-0.0f), 0x8000);
  EXPECT_EQ(F32ToBF16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(F32ToBF16(std::numeric_limits<float>::infinity()), 0x7f80);
  EXPECT_TRUE(std::isnan(BF16ToF32(F32ToBF16(std::nanf("")))));
}

TEST(UnitsTest, ParsesSizes) {
  EXPECT_EQ(*ParseBytes("1000"), 1000u);
  EXPECT_EQ(*ParseBytes("2.4GiB"), 2576980378u);
  EXPECT_EQ(*ParseBytes("512MB"), 512000000u);
  EXPECT_EQ(*ParseBytes("1.5g"), 1500000000u);
  EXPECT_EQ(*ParseBytes("3 kib"), 3072u);
  for (const char* bad : {"", "x", "-1", "1q", "1gx", "nan", "1e30", "inf"}) EXPECT_FALSE(ParseBytes(bad).ok()) << bad;
}

TEST(UnitsTest, ParsesTimes) {
  EXPECT_DOUBLE_EQ(*ParseDuration("200ms"), 0.2);
  EXPECT_DOUBLE_EQ(*ParseDuration("60s"), 60);
  EXPECT_DOUBLE_EQ(*ParseDuration("1.5m"), 90);
  EXPECT_DOUBLE_EQ(*ParseDuration("2h"), 7200);
  EXPECT_DOUBLE_EQ(*ParseDuration("30"), 30);
  for (const char* bad : {"", "s", "-1s", "1 s", "1x", "nan", "inf", "1e12"})
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
}

TEST(UnitsTest, FormatsSizesAndTimes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(4280000000), "4.28 GB");
  EXPECT_EQ(FormatBytes(999600), "1.00 MB");
  EXPECT_EQ(FormatDuration(125), "2:05");
  EXPECT_EQ(FormatDuration(3723), "1:02:03");
}

TEST(DTypeTest, NamesAndNumbersGoBothWays) {
  for (const DTypeInfo& info : AllDTypes()) {
    EXPECT_EQ(DTypeFromGguf(static_cast<uint32_t>(info.type)), info.type);
    EXPECT_EQ(DTypeFromName(info.name), info.type);
    EXPECT_EQ(Info(info.type).name, info.name);
  }
  EXPECT_EQ(DTypeFromName("q4_k"), DType::kQ4_K);
  EXPECT_FALSE(DTypeFromName("Q4").has_value());
  EXPECT_FALSE(DTypeFromGguf(4).has_value());
  EXPECT_EQ(RowBytes(DType::kQ4_K, 512), 288);
}

TEST(MachineTest, FactsArePlausible) {
  EXPECT_FALSE(CpuName().empty());
  const MemoryInfo memory = GetMemoryInfo();
  EXPECT_GT(memory.available, uint64_t{1} << 20);
  EXPECT_LE(memory.available, memory.total);
  const ProcessMemory process = GetProcessMemory();
  EXPECT_GT(process.resident, 0u);
  EXPECT_GE(process.peak_resident, process.resident);
}

}  // namespace
}  // namespace inkstone

// The spill file, its reader and its slots: what comes back is what was written, or an error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "backends/cpu/cpu_backend.h"
#include "kvcache/spill_space.h"

namespace inkstone {
namespace {

using ::testing::HasSubstr;

// Not a multiple of a disk's block, so that pages share blocks.
constexpr size_t kLayerBytes = 1500;
constexpr int kLayers = 5;
constexpr int64_t kSlots = 12;
constexpr SpillLayout kLayout{kLayers, kSlots, kLayerBytes};

std::string Folder() { return std::filesystem::path(::testing::TempDir()) / "inkstone-spill"; }

std::vector<std::byte> Page(uint32_t seed) {
  std::vector<std::byte> page(kLayers * kLayerBytes);
  for (std::byte& byte : page) byte = static_cast<std::byte>((seed = seed * 1664525u + 1013904223u) >> 24);
  return page;
}

// Keeps a record of reads, and may make them fail.
class WatchedDevice final : public SpillDevice {
 public:
  struct State {
    std::mutex mutex;
    std::vector<std::pair<uint64_t, size_t>> reads;  // offset, size
    std::atomic<bool> failing = false;               // reads
    std::atomic<bool> damaging = false;
    std::atomic<int> writes_left = 1'000'000;
  };
  WatchedDevice(std::unique_ptr<SpillDevice> device, State* state) : device_(std::move(device)), state_(*state) {}

  size_t alignment() const override { return device_->alignment(); }
  Status Read(uint64_t offset, std::span<std::byte> bytes) override {
    {
      const std::lock_guard lock(state_.mutex);
      state_.reads.emplace_back(offset, bytes.size());
    }
    if (state_.failing) return DataLoss("an error of the disk");
    INK_RETURN_IF_ERROR(device_->Read(offset, bytes));
    if (state_.damaging) bytes[100] ^= std::byte{1};
    return Status::Ok();
  }
  Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    if (state_.writes_left-- <= 0) return ResourceExhausted("no space left");
    return device_->Write(offset, bytes);
  }

 private:
  std::unique_ptr<SpillDevice> device_;
  State& state_;
};

class SpillTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto file = SpillFile::Create(Folder(), kLayout.file_bytes());
    ASSERT_TRUE(file.ok()) << file.status().message();
    space_ = std::move(SpillSpace::Create(std::make_unique<WatchedDevice>(std::move(*file), &state_), kLayout)).value();
  }
  void ExpectLayer(int layer, const std::vector<int32_t>& slots) {
    const Status status = space_->Fetch(layer, slots);
    ASSERT_TRUE(status.ok()) << status.message();
    for (const int32_t slot : slots) {
      const std::vector<std::byte> page = Page(content_[static_cast<size_t>(slot)]);
      ASSERT_EQ(
          std::memcmp(space_->Block(layer, slot), page.data() + static_cast<size_t>(layer) * kLayerBytes, kLayerBytes),
          0)
          << "layer " << layer << ", slot " << slot;
    }
  }
  int32_t Write(uint32_t seed) {
    const auto slot = space_->Write(Page(seed));
    EXPECT_TRUE(slot.ok()) << slot.status().message();
    content_[static_cast<size_t>(*slot)] = seed;
    return *slot;
  }

  WatchedDevice::State state_;
  std::unique_ptr<SpillSpace> space_;
  std::vector<uint32_t> content_ = std::vector<uint32_t>(kSlots);  // by slot
};

TEST_F(SpillTest, LayersComeBackInAnyOrder) {
  std::vector<int32_t> slots;
  for (uint32_t seed = 1; seed <= 8; ++seed) slots.push_back(Write(seed));
  EXPECT_EQ(slots, (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  for (int step = 0; step < 3; ++step) {
    for (int layer = 0; layer < kLayers; ++layer) ASSERT_NO_FATAL_FAILURE(ExpectLayer(layer, slots));
  }
  // As when a prompt's layers run between decoding steps of another sequence.
  for (int layer = 0; layer < kLayers; ++layer) {
    ASSERT_NO_FATAL_FAILURE(ExpectLayer(layer, {1, 6}));
    for (int other = 0; other < kLayers; ++other) ASSERT_NO_FATAL_FAILURE(ExpectLayer(other, {0, 3, 4, 7}));
  }
}

TEST_F(SpillTest, TheNextLayerIsReadAheadAndNothingTwice) {
  const std::vector<int32_t> slots = {Write(1), Write(2), Write(3)};
  for (int step = 0; step < 2; ++step) {
    for (int layer = 0; layer < kLayers; ++layer) ASSERT_NO_FATAL_FAILURE(ExpectLayer(layer, slots));
  }
  ASSERT_NO_FATAL_FAILURE(ExpectLayer(0, slots));  // waits for the last read but one
  const std::lock_guard lock(state_.mutex);
  for (size_t i = 0; i + 1 < state_.reads.size(); ++i) {
    EXPECT_EQ(state_.reads[i].first, kLayout.Offset(static_cast<int>(i) % kLayers, 0)) << "read " << i;
  }
  EXPECT_GE(state_.reads.size(), 2u * kLayers + 1);
  EXPECT_LE(state_.reads.size(), 2u * kLayers + 2);
}

TEST_F(SpillTest, ANewPageInAnOldSlotIsNotTheOldOne) {
  const std::vector<int32_t> slots = {Write(1), Write(2), Write(3)};
  for (uint32_t seed = 10; seed < 200; ++seed) {
    ASSERT_NO_FATAL_FAILURE(ExpectLayer(static_cast<int>(seed % kLayers), slots));
    space_->Release(slots[seed % 3]);
    ASSERT_EQ(Write(seed), slots[seed % 3]);
    ASSERT_NO_FATAL_FAILURE(ExpectLayer(static_cast<int>((seed + seed / 7) % kLayers), slots));
  }
  const SpillStats stats = space_->stats();
  EXPECT_EQ(stats.pages, 3);
  EXPECT_EQ(stats.written, 193);
  EXPECT_GT(stats.read_bytes, 0u);
}

TEST_F(SpillTest, AFailedReadIsAnErrorAndCanBeRepeated) {
  const std::vector<int32_t> slots = {Write(1), Write(2)};
  state_.failing = true;
  const Status status = space_->Fetch(2, slots);
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("an error of the disk"));
  EXPECT_TRUE(space_->TakeFailedRead());
  EXPECT_FALSE(space_->TakeFailedRead());
  state_.failing = false;
  ASSERT_NO_FATAL_FAILURE(ExpectLayer(2, slots));
  EXPECT_EQ(space_->stats().failed_reads, 1);
}

TEST_F(SpillTest, DamageIsNoticed) {
  const std::vector<int32_t> slots = {Write(1)};
  state_.damaging = true;
  EXPECT_THAT(space_->Fetch(0, slots).message(), HasSubstr("is not what was written"));
  state_.damaging = false;
  ASSERT_NO_FATAL_FAILURE(ExpectLayer(0, slots));
}

TEST_F(SpillTest, AFailedReadAheadHurtsNobodyWhoDoesNotNeedIt) {
  const std::vector<int32_t> slots = {Write(1), Write(2)};
  ASSERT_NO_FATAL_FAILURE(ExpectLayer(0, slots));
  state_.failing = true;
  while (true) {  // until layer 1 has been asked for
    const std::lock_guard lock(state_.mutex);
    if (state_.reads.size() > 1) break;
  }
  state_.failing = false;
  ASSERT_NO_FATAL_FAILURE(ExpectLayer(1, slots));
}

TEST_F(SpillTest, AFullDiskEndsWritingAndLosesNothing) {
  const int32_t first = Write(1);
  state_.writes_left = 3;  // not all layers of a page
  EXPECT_EQ(space_->Write(Page(2)).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(space_->free_slots(), 0);
  EXPECT_EQ(space_->trouble(), "no space left");
  state_.writes_left = 100;
  EXPECT_FALSE(space_->Write(Page(2)).ok()) << "once is enough";
  ASSERT_NO_FATAL_FAILURE(ExpectLayer(3, {first}));
  EXPECT_EQ(space_->stats().pages, 1);
  space_->Release(first);
  EXPECT_EQ(space_->stats().pages, 0);
}

TEST(SpillFile, LeavesNoNameAndReadsWhatWasWritten) {
  std::filesystem::remove_all(Folder());
  auto file = SpillFile::Create(Folder(), 3 * 4096);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_TRUE(std::filesystem::is_empty(Folder()));
  const std::vector<std::byte> page = Page(5);
  ASSERT_TRUE((*file)->Write(1000, page).ok());
  const auto memory = DeviceBuffer::Map(3 * 4096);
  ASSERT_TRUE((*file)->Read(0, {memory->data(), 3 * 4096}).ok());
  EXPECT_EQ(std::memcmp(memory->data() + 1000, page.data(), page.size()), 0);
  // Beyond the end there is less than was asked for.
  const Status shorter = (*file)->Read(2 * 4096, {memory->data(), 2 * 4096});
  EXPECT_EQ(shorter.code(), StatusCode::kDataLoss);
  EXPECT_THAT(shorter.message(), HasSubstr("expected 8192 bytes at 8192, found 4096"));
}

TEST(SpillFile, SaysAtOnceWhenThereIsNoRoomOrNoFolder) {
  const Status full = SpillFile::Create(Folder(), uint64_t{1} << 60).status();
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(full.message(), HasSubstr("no room for a spill file of"));
  EXPECT_EQ(SpillFile::Create("/dev/null/folder", 4096).status().code(), StatusCode::kInvalidArgument);
}

TEST(PageTableSpill, PagesKeepTheirContentAndSlotsComeBack) {
  ThreadPool threads(1);
  const auto backend = MakeCpuBackend(*AvailableKernels({}).front(), &threads);
  PagePool pool = std::move(PagePool::Create(*backend, KvLayout{2, 1, 8, {DType::kF32, DType::kF32}, 4}, 4)).value();
  const SpillLayout layout = SpillSpace::LayoutFor(pool.layout(), 3);
  const auto space =
      std::move(SpillSpace::Create(std::move(SpillFile::Create(Folder(), layout.file_bytes())).value(), layout))
          .value();
  pool.set_spill(space.get());
  {
    PageTable table(&pool);
    ASSERT_TRUE(table.Reserve(16).ok());
    for (size_t at = 0; at < 4; ++at) {
      for (int layer = 0; layer < 2; ++layer) {
        std::memset(table.Keys(at, layer), static_cast<int>(1 + 10 * at + static_cast<size_t>(layer)),
                    pool.layout().layer_bytes());
      }
    }
    for (const size_t at : {1u, 2u}) table.MoveToDisk(at, *pool.WriteToDisk(table.pages()[at]));
    EXPECT_EQ(table.spilled_pages(), 2);
    EXPECT_EQ(pool.free_pages(), 2);
    ASSERT_TRUE(table.Reserve(24).ok()) << "more than the pool has";
    SpilledPages pages;
    pages.Add(table);
    for (const int layer : {0, 1, 0}) {
      ASSERT_TRUE(pages.Fetch(layer).ok());
      for (size_t at = 0; at < 4; ++at) {
        EXPECT_EQ(table.Keys(at, layer)[0], static_cast<std::byte>(1 + 10 * at + static_cast<size_t>(layer)));
        EXPECT_EQ(table.Values(at, layer)[5], table.Keys(at, layer)[0]);
      }
    }
    table.Drop(4, 4);
    EXPECT_EQ(table.spilled_pages(), 1);
    EXPECT_EQ(space->stats().pages, 1);
  }
  EXPECT_EQ(space->stats().pages, 0);
  EXPECT_EQ(space->free_slots(), 3);
  EXPECT_EQ(pool.free_pages(), 4);
}

}  // namespace
}  // namespace inkstone

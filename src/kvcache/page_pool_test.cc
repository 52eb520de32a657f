#include "kvcache/page_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "backends/cpu/cpu_backend.h"
#include "core/memory_probe.h"

namespace inkstone {
namespace {

class PagePoolTest : public ::testing::Test {
 protected:
  static constexpr KvTypes kTypes{DType::kQ8_0, DType::kQ4_0};

  PagePool MakePool(int64_t pages) {
    auto pool = PagePool::Create(*backend_, KvLayout{2, 3, 32, kTypes, 4}, pages);
    EXPECT_TRUE(pool.ok());
    return std::move(pool).value();
  }

  ThreadPool threads_{1};
  std::unique_ptr<Backend> backend_ = MakeCpuBackend(*AvailableKernels({}).front(), &threads_);
};

TEST_F(PagePoolTest, PagesAreDistinctAndLayersDoNotOverlap) {
  PagePool pool = MakePool(5);
  std::map<std::byte*, size_t> blocks;  // bytes from an address on
  for (int i = 0; i < 5; ++i) {
    const PageId page = *pool.Allocate();
    for (int layer = 0; layer < 2; ++layer) {
      blocks[pool.Keys(page, layer)] = pool.layout().key_bytes();
      blocks[pool.Values(page, layer)] = pool.layout().value_bytes();
    }
  }
  ASSERT_EQ(blocks.size(), 20u);
  for (auto next = std::next(blocks.begin()); next != blocks.end(); ++next) {
    const auto& [begin, bytes] = *std::prev(next);
    EXPECT_EQ(begin + bytes, next->first);  // nor is there anything between them
  }
  EXPECT_EQ(pool.Allocate().status().code(), StatusCode::kResourceExhausted);
}

TEST(KvLayout, KeysAndValuesCountByTheirTypes) {
  const KvLayout layout{2, 3, 64, {DType::kQ8_0, DType::kQ4_0}, 4};
  EXPECT_EQ(layout.key_bytes(), 3u * 4 * (64 + 2 * 4));
  EXPECT_EQ(layout.value_bytes(), 3u * 4 * (32 + 2 * 2));
  EXPECT_EQ(layout.page_bytes(), 2 * (layout.key_bytes() + layout.value_bytes()));
  EXPECT_EQ(layout.PagesFor(9), 3);
}

TEST_F(PagePoolTest, APageIsFreeWhenItsLastReferenceGoes) {
  PagePool pool = MakePool(1);
  const PageId page = *pool.Allocate();
  pool.AddReference(page);
  pool.Release(page);
  EXPECT_EQ(pool.free_pages(), 0);
  pool.Release(page);
  EXPECT_EQ(pool.free_pages(), 1);
}

TEST_F(PagePoolTest, ATableGrowsByPagesAndGivesThemBack) {
  PagePool pool = MakePool(3);
  {
    PageTable table(&pool);
    ASSERT_TRUE(table.Reserve(5).ok());
    EXPECT_EQ(table.capacity(), 8);
    ASSERT_TRUE(table.Reserve(8).ok());
    EXPECT_EQ(pool.free_pages(), 1);
    EXPECT_EQ(table.Reserve(17).code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(table.capacity(), 8);
    PageTable moved = std::move(table);
    EXPECT_EQ(moved.capacity(), 8);
  }
  EXPECT_EQ(pool.free_pages(), 3);
}

TEST_F(PagePoolTest, NoMorePagesAreGivenOutThanTheLimitAllows) {
  PagePool pool = MakePool(5);
  PageTable table(&pool);
  ASSERT_TRUE(table.Reserve(12).ok());  // three pages
  pool.SetLimit(4);
  EXPECT_EQ(pool.free_pages(), 1);
  EXPECT_EQ(pool.Shortage(2), 1);
  EXPECT_FALSE(table.Reserve(20).ok());
  ASSERT_TRUE(table.Reserve(16).ok());
  pool.SetLimit(2);  // below what is in use: nothing until two have gone
  EXPECT_EQ(pool.free_pages(), 0);
  EXPECT_EQ(pool.Shortage(1), 3);
  EXPECT_EQ(pool.Allocate().status().code(), StatusCode::kResourceExhausted);
  table.Clear();
  EXPECT_EQ(pool.free_pages(), 2);
  EXPECT_EQ(pool.used_pages(), 0);
  pool.SetLimit(100);
  EXPECT_EQ(pool.limit(), 5);
}

// Against what the system says of the same memory.
TEST_F(PagePoolTest, FreePagesGiveTheirMemoryBack) {
  const KvLayout layout{2, 8, 128, {DType::kF32, DType::kF32}, 4};  // 64 KiB each
  auto created = PagePool::Create(*backend_, layout, 32);
  ASSERT_TRUE(created.ok());
  PagePool pool = std::move(created).value();
  EXPECT_EQ(ResidentBytes(pool.memory()), 0u);
  PageTable kept(&pool), gone(&pool);
  ASSERT_TRUE(kept.Reserve(1).ok());
  ASSERT_TRUE(gone.Reserve(40).ok());
  for (const PageTable* table : {&kept, &gone}) {
    for (const PageId page : table->pages()) std::fill_n(pool.Keys(page, 0), layout.page_bytes(), std::byte{1});
  }
  EXPECT_EQ(ResidentBytes(pool.memory()), 11 * layout.page_bytes());
  EXPECT_EQ(pool.GiveBack(), 0);
  gone.Clear();
  EXPECT_EQ(pool.free_resident_pages(), 10);
  EXPECT_EQ(ResidentBytes(pool.memory()), 11 * layout.page_bytes());
  EXPECT_EQ(pool.GiveBack(), 10);
  EXPECT_EQ(pool.free_resident_pages(), 0);
  EXPECT_EQ(ResidentBytes(pool.memory()), layout.page_bytes());
  EXPECT_EQ(pool.Keys(kept.pages()[0], 0)[0], std::byte{1});
  ASSERT_TRUE(gone.Reserve(4).ok());
  EXPECT_EQ(pool.Keys(gone.pages()[0], 0)[0], std::byte{0});
  EXPECT_EQ(pool.free_resident_pages(), 0);
  gone.Clear();
  EXPECT_EQ(pool.free_resident_pages(), 1);
}

TEST_F(PagePoolTest, ATableDropsPagesInTheMiddle) {
  PagePool pool = MakePool(8);
  PageTable table(&pool);
  ASSERT_TRUE(table.Reserve(24).ok());  // six pages of four
  const std::vector<PageId> all = table.pages();
  table.Drop(4, 8);
  EXPECT_EQ(table.pages(), (std::vector<PageId>{all[0], all[3], all[4], all[5]}));
  EXPECT_EQ(table.dropped_tokens(), 8);
  EXPECT_EQ(table.capacity(), 24);
  EXPECT_EQ(pool.free_pages(), 4);
  EXPECT_EQ(table.Find(0), 0u);
  EXPECT_FALSE(table.Find(4));
  EXPECT_FALSE(table.Find(11));
  EXPECT_EQ(table.Find(12), 1u);
  table.Drop(4, 8);  // as before
  table.Drop(4, 12);
  EXPECT_EQ(table.pages(), (std::vector<PageId>{all[0], all[4], all[5]}));
  ASSERT_TRUE(table.Reserve(25).ok());
  EXPECT_EQ(table.capacity(), 28);
  PageTable moved = std::move(table);
  EXPECT_EQ(moved.dropped_tokens(), 12);
  moved.Clear();
  EXPECT_EQ(moved.capacity(), 0);
  EXPECT_EQ(pool.free_pages(), 8);
}

}  // namespace
}  // namespace inkstone

#include "kvcache/page_pool.h"

#include <gtest/gtest.h>

#include <set>

#include "backends/cpu/cpu_backend.h"

namespace inkstone {
namespace {

class PagePoolTest : public ::testing::Test {
 protected:
  PagePool MakePool(int64_t pages) {
    auto pool = PagePool::Create(*backend_, KvLayout{2, 3, 8, DType::kF16, 4}, pages);
    EXPECT_TRUE(pool.ok());
    return std::move(pool).value();
  }

  ThreadPool threads_{1};
  std::unique_ptr<Backend> backend_ = MakeCpuBackend(*AvailableKernels({}).front(), &threads_);
};

TEST_F(PagePoolTest, PagesAreDistinctAndLayersDoNotOverlap) {
  PagePool pool = MakePool(5);
  std::set<std::byte*> blocks;
  for (int i = 0; i < 5; ++i) {
    const PageId page = *pool.Allocate();
    for (int layer = 0; layer < 2; ++layer) {
      blocks.insert(pool.Keys(page, layer));
      blocks.insert(pool.Values(page, layer));
    }
  }
  ASSERT_EQ(blocks.size(), 20u);
  std::byte* previous = nullptr;
  for (std::byte* block : blocks) {
    if (previous != nullptr) {
      EXPECT_GE(block - previous, static_cast<std::ptrdiff_t>(pool.layout().block_bytes()));
    }
    previous = block;
  }
  EXPECT_EQ(pool.Allocate().status().code(), StatusCode::kResourceExhausted);
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

}  // namespace
}  // namespace inkstone

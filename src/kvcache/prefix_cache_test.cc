#include "kvcache/prefix_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <numeric>
#include <random>

#include "backends/cpu/cpu_backend.h"
#include "kvcache/spill_space.h"

namespace inkstone {
namespace {

constexpr int kPageTokens = 4;

// What a test writes in place of a position's keys: the hash of all tokens so far, with the phase of the last.
struct Entry {
  uint64_t history;
  Phase phase;
};

class PrefixCacheTest : public ::testing::Test {
 protected:
  explicit PrefixCacheTest(int64_t pages = 64) {
    auto pool = PagePool::Create(*backend_, KvLayout{1, 1, 8, {DType::kF16, DType::kF16}, kPageTokens}, pages);
    EXPECT_TRUE(pool.ok());
    pool_ = std::make_unique<PagePool>(std::move(pool).value());
    cache_ = std::make_unique<PrefixCache>(pool_.get());
  }

  std::byte* Slot(const PageTable& table, size_t position) const {
    const auto page = table.pages()[position / kPageTokens];
    return pool_->Keys(page, 0) + position % kPageTokens * sizeof(Entry);
  }
  static uint64_t Mix(uint64_t history, int32_t token) {
    return (history * 31 + static_cast<uint64_t>(token) + 1) * 0x9e3779b97f4a7c15u;
  }
  // Writes entries from `begin` on, and checks those before.
  void Compute(const PageTable& table, std::span<const int32_t> tokens, std::span<const Phase> phases, size_t begin) {
    uint64_t history = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      history = Mix(history, tokens[i]);
      Entry entry{history, phases[i]};
      if (i >= begin) {
        std::memcpy(Slot(table, i), &entry, sizeof entry);
        continue;
      }
      std::memcpy(&entry, Slot(table, i), sizeof entry);
      ASSERT_EQ(entry.history, history) << "position " << i;
      ASSERT_EQ(entry.phase, phases[i]) << "position " << i;
    }
  }
  // What an engine does with a request: returns how many tokens came from the cache.
  size_t Run(const std::vector<int32_t>& tokens, std::vector<Phase> phases, bool accept_generated, PageTable* table) {
    const std::vector<Phase> found = cache_->Acquire({tokens, phases, accept_generated}, table);
    std::copy(found.begin(), found.end(), phases.begin());
    const int64_t missing = pool_->layout().PagesFor(static_cast<int64_t>(tokens.size())) -
                            static_cast<int64_t>(table->pages().size()) - pool_->free_pages();
    if (missing > 0) cache_->Evict(missing);
    EXPECT_TRUE(table->Reserve(static_cast<int64_t>(tokens.size())).ok());
    Compute(*table, tokens, phases, found.size());
    cache_->Insert(tokens, phases, {}, true, table);
    return found.size();
  }
  size_t Run(const std::vector<int32_t>& tokens) {
    PageTable table(pool_.get());
    return Run(tokens, std::vector<Phase>(tokens.size(), Phase::kPrompt), false, &table);
  }

  ThreadPool threads_{1};
  std::unique_ptr<Backend> backend_ = MakeCpuBackend(*AvailableKernels({}).front(), &threads_);
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PrefixCache> cache_;
};

// Requests of several clients, each of whom finds how much of a prompt.
class DomainsTest : public PrefixCacheTest {
 protected:
  static CacheDomain Of(const char* client) { return {RootKey(client), {}, 0}; }
  static CacheDomain Of(const char* client, const char* system_text, int64_t tokens) {
    return {RootKey(client), RootKey(system_text), tokens};
  }
  int64_t Find(const std::vector<int32_t>& tokens, const CacheDomain& domain) const {
    const std::vector<Phase> phases(tokens.size(), Phase::kPrompt);
    return cache_->Find({tokens, phases, false, domain}).tokens;
  }
  // Returns how many tokens came from the cache.
  size_t Ask(const std::vector<int32_t>& tokens, const CacheDomain& domain) {
    std::vector<Phase> phases(tokens.size(), Phase::kPrompt);
    PageTable table(pool_.get());
    const size_t found = cache_->Acquire({tokens, phases, false, domain}, &table).size();
    EXPECT_TRUE(table.Reserve(static_cast<int64_t>(tokens.size())).ok());
    Compute(table, tokens, phases, found);
    cache_->Insert(tokens, phases, domain, true, &table);
    return found;
  }
};

TEST_F(DomainsTest, NobodyFindsPagesOfOthers) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  EXPECT_EQ(Ask(tokens, Of("ada")), 0u);
  for (size_t size = 1; size <= tokens.size(); ++size) {
    const std::vector<int32_t> guess(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(Find(guess, Of("bob")), 0) << size;
    EXPECT_EQ(Find(guess, Of("ada")), static_cast<int64_t>(size));
    EXPECT_EQ(Find(guess, {}), 0) << "nobody in particular";
  }
  EXPECT_EQ(Ask(tokens, Of("bob")), 0u);
  EXPECT_EQ(cache_->pages(), 6);
  EXPECT_EQ(Ask(tokens, Of("bob")), 10u);
  EXPECT_EQ(cache_->Evict(100), 6);
  EXPECT_EQ(Find(tokens, Of("ada")), 0);
}

// Of a shared text of 10 tokens two pages are everybody's; its end lies in a page with what the client wrote.
TEST_F(DomainsTest, OnlyWholePagesOfASharedTextAreFoundByOthers) {
  const std::vector<int32_t> ada = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 50, 51, 52, 53};
  EXPECT_EQ(Ask(ada, Of("ada", "text", 10)), 0u);
  EXPECT_EQ(Find(ada, Of("bob", "text", 10)), 8) << "also where all of the prompt is the same";
  EXPECT_EQ(Find(ada, Of("ada", "text", 10)), 14);
  EXPECT_EQ(Find(ada, Of("bob", "another text", 10)), 0) << "a text that differs finds no part of it";
  EXPECT_EQ(Find(ada, Of("bob")), 0);
  EXPECT_EQ(Find(ada, Of("ada")), 0);
  const std::vector<int32_t> bob = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 60, 61};
  EXPECT_EQ(Ask(bob, Of("bob", "text", 10)), 8u);
  EXPECT_EQ(Find(bob, Of("bob", "text", 10)), 12);
  EXPECT_EQ(Find(bob, Of("ada", "text", 10)), 10) << "to the token within what is its own";
}

TEST_F(PrefixCacheTest, FindsPrefixesToTheToken) {
  EXPECT_EQ(Run({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), 0u);
  EXPECT_EQ(cache_->pages(), 3);
  EXPECT_EQ(Run({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), 10u);
  EXPECT_EQ(cache_->pages(), 3);
  EXPECT_EQ(Run({1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12}), 9u);
  EXPECT_EQ(Run({1, 2, 3, 4, 5, 6, 99}), 6u);
  EXPECT_EQ(Run({1, 2}), 2u);
  EXPECT_EQ(Run({2, 2}), 0u);
  EXPECT_EQ(pool_->free_pages() + pool_->idle_pages(), pool_->total_pages());
}

TEST_F(PrefixCacheTest, WholePagesAreSharedAndPartsAreCopied) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6};
  const std::vector<Phase> phases(tokens.size(), Phase::kPrompt);
  PageTable first(pool_.get()), second(pool_.get());
  Run(tokens, phases, false, &first);
  EXPECT_EQ(Run(tokens, phases, false, &second), 6u);
  EXPECT_EQ(first.pages()[0], second.pages()[0]);
  EXPECT_NE(first.pages()[1], second.pages()[1]);
  EXPECT_EQ(pool_->references(first.pages()[0]), 3);
}

TEST_F(PrefixCacheTest, EqualPagesBecomeOne) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<Phase> phases(tokens.size(), Phase::kPrompt);
  PageTable first(pool_.get()), second(pool_.get());
  for (PageTable* table : {&first, &second}) {
    ASSERT_TRUE(table->Reserve(8).ok());
    Compute(*table, tokens, phases, 0);
  }
  cache_->Insert(tokens, phases, {}, false, &first);
  EXPECT_EQ(pool_->free_pages(), pool_->total_pages() - 4);
  cache_->Insert(tokens, phases, {}, false, &second);
  EXPECT_EQ(pool_->free_pages(), pool_->total_pages() - 2);
  EXPECT_EQ(first.pages(), second.pages());
}

TEST_F(PrefixCacheTest, EntriesOfOtherKernelsAreTakenOnlyWhenAccepted) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6, 7};
  std::vector<Phase> answered(tokens.size(), Phase::kPrompt);
  std::fill(answered.begin() + 3, answered.end(), Phase::kDecode);
  {
    PageTable table(pool_.get());
    Run(tokens, answered, false, &table);
  }
  const std::vector<Phase> prompt(tokens.size(), Phase::kPrompt);
  EXPECT_EQ(cache_->Find({tokens, prompt, false}).tokens, 3);
  EXPECT_EQ(cache_->Find({tokens, prompt, true}).tokens, 7);
  EXPECT_EQ(cache_->Find({tokens, answered, false}).tokens, 7);
  PageTable table(pool_.get());
  EXPECT_EQ(cache_->Acquire({tokens, prompt, true}, &table), answered);
}

TEST_F(PrefixCacheTest, TheLeastRecentlyUsedGoesFirstAndWhatIsInUseStays) {
  Run({1, 1, 1, 1, 1, 1, 1, 1});
  Run({2, 2, 2, 2, 2, 2, 2, 2});
  Run({3, 3, 3, 3});
  const std::vector<int32_t> used = {3, 3, 3, 3};
  PageTable table(pool_.get());
  Run(used, std::vector<Phase>(4, Phase::kPrompt), false, &table);
  EXPECT_EQ(Run({1, 1, 1, 1, 1, 1, 1, 1}), 8u);
  EXPECT_EQ(cache_->Evict(1), 1);
  EXPECT_EQ(Run({2, 2, 2, 2}), 4u);
  EXPECT_EQ(pool_->idle_pages(), 3);
  EXPECT_EQ(cache_->Evict(100), 3);
  EXPECT_EQ(cache_->pages(), 1);
  EXPECT_EQ(pool_->free_pages(), pool_->total_pages() - 1);
  EXPECT_EQ(cache_->evicted(), 4);
}

TEST_F(PrefixCacheTest, WhatADroppingSequenceLeftBehindMakesRoom) {
  std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  std::vector<Phase> phases(tokens.size(), Phase::kPrompt);
  PageTable table(pool_.get());
  Run(tokens, phases, false, &table);
  table.Drop(4, 8);
  EXPECT_EQ(pool_->idle_pages(), 2);
  // Its later pages still go in, as the cache knows what it dropped.
  ASSERT_TRUE(table.Reserve(20).ok());
  tokens.insert(tokens.end(), {17, 18, 19, 20});
  phases.resize(20, Phase::kPrompt);
  cache_->Insert(tokens, phases, {}, false, &table);
  EXPECT_EQ(cache_->pages(), 5);
  EXPECT_EQ(cache_->Find({tokens, phases}).tokens, 20);
  // The idle pages lie in front of pages in use, which leave the cache to free them.
  EXPECT_EQ(cache_->Evict(1), 1);
  EXPECT_EQ(cache_->Evict(10), 1);
  EXPECT_EQ(pool_->idle_pages(), 0);
  EXPECT_EQ(pool_->free_pages(), pool_->total_pages() - 3);
  EXPECT_EQ(cache_->pages(), 1);
  // What follows a page that is no longer known stays the sequence's own.
  cache_->Insert(tokens, phases, {}, false, &table);
  EXPECT_EQ(cache_->pages(), 1);
  EXPECT_EQ(cache_->Find({tokens, phases}).tokens, 4);
}

class SmallPrefixCacheTest : public PrefixCacheTest {
 protected:
  SmallPrefixCacheTest() : PrefixCacheTest(24) {}
};

// Random requests from few tokens, in a pool that forces eviction: contents are right whatever is shared, copied and
// thrown away, and no page is lost.
TEST_F(SmallPrefixCacheTest, RandomRequestsSeeTheirOwnHistory) {
  std::mt19937 random(7);
  size_t found = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<PageTable> tables;
    for (int together = 0; together < 2; ++together) {
      std::vector<int32_t> tokens(1 + random() % 30);
      for (int32_t& t : tokens) t = static_cast<int32_t>(random() % 8 == 0);
      std::vector<Phase> phases(tokens.size(), Phase::kPrompt);
      if (random() % 2 == 0) std::fill(phases.begin() + random() % phases.size(), phases.end(), Phase::kDecode);
      tables.emplace_back(pool_.get());
      found += Run(tokens, phases, random() % 2 == 0, &tables.back());
      if (HasFatalFailure()) return;
    }
    tables.clear();
    ASSERT_EQ(pool_->free_pages() + pool_->idle_pages(), pool_->total_pages());
    ASSERT_EQ(pool_->idle_pages(), cache_->pages());
  }
  EXPECT_GT(found, 50000u);
  EXPECT_GT(cache_->evicted(), 1000);
}

class MemoryDevice final : public SpillDevice {
 public:
  explicit MemoryDevice(uint64_t bytes) : bytes_(bytes) {}
  size_t alignment() const override { return 1; }
  Status Read(uint64_t offset, std::span<std::byte> bytes) override {
    std::memcpy(bytes.data(), bytes_.data() + offset, bytes.size());
    return Status::Ok();
  }
  Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    std::memcpy(bytes_.data() + offset, bytes.data(), bytes.size());
    return Status::Ok();
  }

 private:
  std::vector<std::byte> bytes_;
};

// Six pages of one prompt, the last three of them on disk.
class SpilledPrefixTest : public PrefixCacheTest {
 protected:
  SpilledPrefixTest() {
    const SpillLayout layout = SpillSpace::LayoutFor(pool_->layout(), 6);
    spill_ = std::move(SpillSpace::Create(std::make_unique<MemoryDevice>(layout.file_bytes()), layout)).value();
    pool_->set_spill(spill_.get());
    PageTable table(pool_.get());
    Run(tokens_, phases_, false, &table);
    for (const size_t at : {5u, 4u, 3u}) {
      const PageId copy = *pool_->WriteToDisk(table.pages()[at]);
      cache_->Move(table.pages()[at], copy);
      table.MoveToDisk(at, copy);
    }
  }
  ~SpilledPrefixTest() override {
    cache_.reset();
    EXPECT_EQ(pool_->used_pages(), 0);
    EXPECT_EQ(spill_->stats().pages, 0);
  }
  PrefixFind Find(size_t tokens) const {
    return cache_->Find({std::span(tokens_).first(tokens), std::span(phases_).first(tokens), false});
  }

  const std::vector<int32_t> tokens_ = [] {
    std::vector<int32_t> tokens(6 * kPageTokens);
    std::iota(tokens.begin(), tokens.end(), 7);
    return tokens;
  }();
  const std::vector<Phase> phases_ = std::vector<Phase>(tokens_.size(), Phase::kPrompt);
  std::unique_ptr<SpillSpace> spill_;
};

TEST_F(SpilledPrefixTest, WhatLiesOnDiskIsSharedInWholePages) {
  EXPECT_EQ(Find(24).tokens, 24);
  EXPECT_EQ(Find(24).idle_pages, 3);
  EXPECT_EQ(Find(24).idle_slots, 3);
  EXPECT_EQ(Find(22).tokens, 20) << "a part of a page would have to be copied";
  PageTable one(pool_.get()), other(pool_.get());
  for (PageTable* table : {&one, &other}) EXPECT_EQ(cache_->Acquire({tokens_, phases_, false}, table).size(), 24u);
  EXPECT_EQ(one.pages(), other.pages());
  EXPECT_EQ(one.spilled_pages(), 3);
  EXPECT_EQ(Find(24).idle_slots, 0);
  EXPECT_FALSE(cache_->EvictSlot());
  EXPECT_EQ(cache_->Evict(3), 0);
  SpilledPages spilled;
  spilled.Add(one);
  spilled.Add(other);
  ASSERT_TRUE(spilled.Fetch(0).ok());
  Entry last;
  std::memcpy(&last, one.Keys(5, 0) + 3 * sizeof(Entry), sizeof last);
  uint64_t history = 0;
  for (const int32_t token : tokens_) history = Mix(history, token);
  EXPECT_EQ(last.history, history);
}

TEST_F(SpilledPrefixTest, PagesInMemoryFollowThoseOnDisk) {
  EXPECT_EQ(cache_->Evict(2), 2);
  EXPECT_EQ(Find(24).tokens, 24);
  EXPECT_EQ(Find(24).idle_slots, 5);
  EXPECT_TRUE(cache_->EvictSlot());
  EXPECT_EQ(Find(24).tokens, 20) << "the last goes first";
  cache_->DropSpilled();
  EXPECT_EQ(Find(24).tokens, 4);
}

TEST_F(SpilledPrefixTest, WithoutASlotWhatFollowsIsGivenUp) {
  PageTable filler(pool_.get());
  for (int i = 0; i < 3; ++i) filler.Append(*pool_->WriteToDisk(0));
  EXPECT_EQ(cache_->Evict(1), 1);
  EXPECT_EQ(Find(24).tokens, 8);
  EXPECT_EQ(spill_->stats().pages, 3);
}

TEST_F(SpilledPrefixTest, WhatIsComputedAgainComesBackToMemory) {
  PageTable table(pool_.get());
  ASSERT_TRUE(table.Reserve(24).ok());
  Compute(table, tokens_, phases_, 0);
  cache_->Insert(tokens_, phases_, {}, true, &table);
  EXPECT_EQ(table.spilled_pages(), 0);
  EXPECT_EQ(spill_->stats().pages, 0);
  EXPECT_EQ(pool_->used_pages(), 6);
}

}  // namespace
}  // namespace inkstone

#include "kvcache/page_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "backends/cpu/cpu_backend.h"
#include "kvcache/prefix_cache.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPageBytes = 20'000;

std::vector<std::byte> PageOf(const PageKey& key) {
  std::mt19937 random(key.bytes[0] | key.bytes[1] << 8 | key.bytes[2] << 16);
  std::vector<std::byte> page(kPageBytes);
  for (std::byte& b : page) b = static_cast<std::byte>(random());
  return page;
}

class PageStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("inkstone_pages_" + std::to_string(getpid()) + "_" +
                                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  PageStoreOptions Options(uint64_t max_bytes = 10'000'000) const {
    return {folder_.string(), max_bytes, "a model", kPageBytes};
  }
  std::unique_ptr<PageStore> MakeStore(const PageStoreOptions& options) {
    auto store = PageStore::Open(options);
    EXPECT_TRUE(store.ok()) << store.status().message();
    return store.ok() ? std::move(store).value() : nullptr;
  }
  static StoredPage Stored(const PageKey& parent, int32_t token) {
    const std::vector<int32_t> tokens = {token, token + 1};
    return {ChildKey(parent, tokens), parent, 0, tokens, {Phase::kPrompt, Phase::kDecode}};
  }
  // Writes a chain of pages that begins at the root; returns their keys.
  static std::vector<PageKey> WriteChain(PageStore& store, int count, int32_t first) {
    std::vector<PageKey> keys;
    PageKey parent = store.root();
    for (int i = 0; i < count; ++i) {
      const StoredPage stored = Stored(parent, first + i);
      store.Write(stored, PageOf(stored.key));
      store.Flush();
      keys.push_back(parent = stored.key);
    }
    return keys;
  }
  // Of the pages, how many are found; each that is must be right.
  static int Found(PageStore& store, const std::vector<PageKey>& keys) {
    int found = 0;
    for (const PageKey& key : keys) {
      std::vector<std::byte> page(kPageBytes);
      const auto stored = store.Read(key, page);
      if (!stored) continue;
      ++found;
      EXPECT_EQ(stored->key, key);
      EXPECT_EQ(page, PageOf(key));
    }
    return found;
  }
  std::vector<fs::path> Slabs() const {
    std::vector<fs::path> slabs;
    for (const auto& file : fs::directory_iterator(folder_)) {
      if (file.path().extension() == ".slab") slabs.push_back(file.path());
    }
    return slabs;
  }

  fs::path folder_;
};

TEST_F(PageStoreTest, PagesComeBackAfterARestart) {
  std::vector<PageKey> keys;
  {
    const auto store = MakeStore(Options());
    keys = WriteChain(*store, 20, 0);
    EXPECT_EQ(Found(*store, keys), 20);
    EXPECT_EQ(store->stats().written, 20);
  }
  const auto store = MakeStore(Options());
  EXPECT_EQ(store->stats().pages, 20);
  EXPECT_EQ(Found(*store, keys), 20);
  std::vector<std::byte> page(kPageBytes);
  const auto stored = store->Read(keys[3], page);
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->tokens, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(stored->phases, (std::vector<Phase>{Phase::kPrompt, Phase::kDecode}));
}

TEST_F(PageStoreTest, OtherModelsDoNotSeeThem) {
  const std::vector<PageKey> keys = WriteChain(*MakeStore(Options()), 3, 0);
  PageStoreOptions other = Options();
  other.identity = "another model";
  EXPECT_EQ(Found(*MakeStore(other), keys), 0);
  EXPECT_EQ(Found(*MakeStore(Options()), keys), 3);
}

TEST_F(PageStoreTest, FilesArePrivateAndStayUnderTheCap) {
  const auto store = MakeStore(Options(200'000));
  WriteChain(*store, 4, 0);
  for (int i = 0; i < 40; ++i) WriteChain(*store, 1, 1000 + 10 * i);
  EXPECT_GT(store->stats().evicted, 20);
  uint64_t bytes = 0;
  struct stat facts {};
  for (const fs::path& slab : Slabs()) {
    ASSERT_EQ(stat(slab.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0600u);
    bytes += static_cast<uint64_t>(facts.st_size);
  }
  EXPECT_LE(bytes, 200'000u);
  EXPECT_EQ(bytes, store->stats().bytes);
  ASSERT_EQ(stat(folder_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700u);
}

TEST_F(PageStoreTest, AFolderThatIsThereKeepsItsMode) {
  fs::create_directories(folder_);
  for (const mode_t mode : {0755u, 0777u, 0700u}) {
    ASSERT_EQ(chmod(folder_.c_str(), mode), 0);
    const auto store = MakeStore(Options());
    ASSERT_NE(store, nullptr);
    WriteChain(*store, 1, static_cast<int32_t>(mode));
    struct stat facts {};
    ASSERT_EQ(stat(folder_.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, mode);
    for (const fs::path& slab : Slabs()) {
      ASSERT_EQ(stat(slab.c_str(), &facts), 0);
      EXPECT_EQ(facts.st_mode & 0777, 0600u);
    }
  }
}

TEST_F(PageStoreTest, AFileOfAnotherUserOrNameIsNotUsed) {
  std::vector<PageKey> keys;
  {
    const auto store = MakeStore(Options());
    keys = WriteChain(*store, 2, 5);
    EXPECT_EQ(Found(*store, keys), 2);
  }
  ASSERT_EQ(Slabs().size(), 1u);
  fs::create_hard_link(Slabs()[0], folder_ / "second");
  EXPECT_EQ(Found(*MakeStore(Options()), keys), 0);
  fs::remove(folder_ / "second");
  EXPECT_EQ(Found(*MakeStore(Options()), keys), 2);
  if (geteuid() != 0) return;
  ASSERT_EQ(chown(Slabs()[0].c_str(), 12345, 12345), 0);
  EXPECT_EQ(Found(*MakeStore(Options()), keys), 0);
}

TEST_F(PageStoreTest, APageWithFollowersIsEvictedAfterThem) {
  const auto store = MakeStore(Options(200'000));
  const std::vector<PageKey> chain = WriteChain(*store, 5, 0);
  for (int i = 0; i < 8; ++i) WriteChain(*store, 1, 1000 + 10 * i);
  bool missing = false;
  for (const PageKey& key : chain) {
    EXPECT_FALSE(missing && store->Contains(key)) << "a page is there without the one before it";
    missing = missing || !store->Contains(key);
  }
  EXPECT_TRUE(missing);
}

TEST_F(PageStoreTest, OneProcessWritesAndOthersRead) {
  const auto writer = MakeStore(Options());
  const std::vector<PageKey> keys = WriteChain(*writer, 3, 0);
  const auto reader = MakeStore(Options());
  EXPECT_FALSE(reader->stats().writable);
  EXPECT_EQ(Found(*reader, keys), 3);
  const StoredPage more = Stored(keys.back(), 77);
  reader->Write(more, PageOf(more.key));
  reader->Flush();
  EXPECT_FALSE(reader->Contains(more.key));
}

// Whatever bits flip: a page is right or not there.
TEST_F(PageStoreTest, FlippedBitsAreMisses) {
  const std::vector<PageKey> keys = WriteChain(*MakeStore(Options()), 12, 0);
  std::mt19937 random(5);
  int least = 12;
  for (int round = 0; round < 60; ++round) {
    const fs::path slab = Slabs().at(0);
    const size_t size = fs::file_size(slab);
    std::fstream file(slab, std::ios::in | std::ios::out | std::ios::binary);
    // The head, the headers and pages of the first blocks, and anywhere.
    const size_t range = round % 3 == 0 ? 4096 : round % 3 == 1 ? 12 * 24'576 : size;
    const auto at = static_cast<std::streamoff>(random() % range);
    file.seekg(at);
    const int old = file.get();
    file.seekp(at);
    file.put(static_cast<char>(old ^ (1 << random() % 8)));
    file.close();
    const auto store = PageStore::Open(Options());
    ASSERT_TRUE(store.ok());
    least = std::min(least, Found(**store, keys));
  }
  EXPECT_LT(least, 12);
}

TEST_F(PageStoreTest, KilledWhileWritingItLosesPagesButShowsNoWrongOne) {
  std::vector<PageKey> keys;
  PageKey parent = RootKey("a model");
  for (int i = 0; i < 400; ++i) {
    const StoredPage stored = Stored(parent, i);
    keys.push_back(parent = stored.key);
  }
  for (int round = 0; round < 5; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      const auto store = PageStore::Open(Options(60 * 24'576));  // fewer than are written: blocks are used again
      PageKey previous = (*store)->root();
      for (int i = 0; i < 400; ++i) {
        const StoredPage stored = Stored(previous, i);
        (*store)->Write(stored, PageOf(stored.key));
        previous = stored.key;
        usleep(50);
      }
      pause();
    }
    ASSERT_GT(child, 0);
    usleep(static_cast<useconds_t>(2000 + 9000 * round));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const auto store = MakeStore(Options(60 * 24'576));
    ASSERT_TRUE(store->stats().writable) << "the lock goes with the process";
    Found(*store, keys);  // which checks what it finds
  }
}

// What a process leaves that is killed between taking disk space and writing the head: without care, no later one
// would ever write again.
TEST_F(PageStoreTest, AFileThatWasBegunIsFinished) {
  { WriteChain(*MakeStore(Options()), 1, 0); }
  const fs::path slab = Slabs().at(0);
  const uintmax_t size = fs::file_size(slab);
  for (const uintmax_t begun : {size, size / 2, uintmax_t{0}}) {
    { std::ofstream(slab, std::ios::trunc).flush(); }
    fs::resize_file(slab, begun);
    const std::vector<PageKey> keys = WriteChain(*MakeStore(Options()), 3, 0);
    EXPECT_EQ(Found(*MakeStore(Options()), keys), 3) << begun;
    EXPECT_EQ(fs::file_size(slab), size);
  }
}

TEST_F(PageStoreTest, FilesTakeTheSizeTheyShouldHave) {
  const std::vector<PageKey> keys = WriteChain(*MakeStore(Options()), 12, 0);
  const fs::path slab = Slabs().at(0);
  fs::resize_file(slab, fs::file_size(slab) / 2);  // cut short by somebody
  EXPECT_EQ(Found(*MakeStore(Options()), keys), 12) << "the first blocks are there";
  for (const uint64_t cap : {200'000u, 5'000'000u}) {  // another cap: what fits stays
    const auto store = MakeStore(Options(cap));
    const int found = Found(*store, keys);
    EXPECT_GT(found, 3);
    EXPECT_LE(fs::file_size(slab), cap);
    const std::vector<PageKey> more = WriteChain(*store, 2, 500);
    EXPECT_EQ(Found(*store, more), 2);
  }
}

TEST_F(PageStoreTest, APageLostInTheMiddleIsWantedBack) {
  const std::vector<PageKey> keys = WriteChain(*MakeStore(Options()), 5, 0);
  const auto damage = [&](int block) {
    std::fstream file(Slabs().at(0), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096 + block * 24'576 + 40);
    file.write("damage!!", 8);
  };
  const auto check = [&](PageStore& store, size_t lost) {
    for (size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(store.Lost(keys[i]), i == lost) << i;
    const StoredPage again = Stored(keys[lost - 1], static_cast<int32_t>(lost));
    ASSERT_EQ(again.key, keys[lost]);
    store.Write(again, PageOf(again.key));
    store.Flush();
    EXPECT_FALSE(store.Lost(keys[lost]));
    EXPECT_EQ(Found(store, keys), 5);
  };
  damage(2);
  const auto store = MakeStore(Options());  // which sees it at the start
  check(*store, 2);
  damage(1);
  EXPECT_EQ(Found(*store, keys), 4);  // which sees it now
  EXPECT_EQ(store->stats().damaged, 1);
  check(*store, 1);
}

// A full store of pages that were read: new ones find room beside each other.
TEST_F(PageStoreTest, ANewPageDoesNotPushOutTheOneItFollows) {
  const auto store = MakeStore(Options(200'000));
  for (int i = 0; i < 7; ++i) EXPECT_EQ(Found(*store, WriteChain(*store, 1, 1000 + 10 * i)), 1);
  const std::vector<PageKey> chain = WriteChain(*store, 4, 0);
  EXPECT_EQ(Found(*store, chain), 4);
}

TEST_F(PageStoreTest, TroubleWithTheFolderIsToldNotSuffered) {
  const auto file = fs::temp_directory_path() / ("inkstone_not_a_folder_" + std::to_string(getpid()));
  std::ofstream(file) << "x";
  PageStoreOptions options = Options();
  options.folder = file.string();
  EXPECT_FALSE(PageStore::Open(options).ok());
  fs::remove(file);
  options = Options(100);
  EXPECT_FALSE(PageStore::Open(options).ok());
  // A foreign file where a slab would be is left alone.
  { MakeStore(Options()); }
  fs::path slab = folder_ / "x";
  {
    const auto store = MakeStore(Options());
    WriteChain(*store, 1, 0);
    slab = Slabs().at(0);
  }
  std::ofstream(slab, std::ios::trunc) << "mine";
  const auto store = MakeStore(Options());
  WriteChain(*store, 2, 0);
  EXPECT_FALSE(store->stats().trouble.empty());
  std::ifstream back(slab);
  std::string text;
  back >> text;
  EXPECT_EQ(text, "mine");
}

TEST_F(PageStoreTest, ADiskThatWasFullIsAskedAgain) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto fill = [&](bool full) {
    const rlimit limit{full ? 100 : before.rlim_cur, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  };
  for (const bool at_once : {true, false}) {
    PageStoreOptions options = Options();
    options.folder += at_once ? "_1" : "_2";
    options.retry = at_once ? std::chrono::milliseconds(0) : std::chrono::hours(1);
    const auto store = MakeStore(options);
    fill(true);
    EXPECT_EQ(Found(*store, WriteChain(*store, 2, 0)), 0);
    EXPECT_NE(store->stats().trouble, "");
    EXPECT_EQ(store->stats().dropped, 2);
    fill(false);
    EXPECT_EQ(Found(*store, WriteChain(*store, 2, 0)), at_once ? 2 : 0);
    EXPECT_EQ(store->stats().trouble.empty(), at_once);
    fs::remove_all(options.folder);
  }
}

// A prefix cache over a store: what left memory comes back, through eviction and a restart.
TEST_F(PageStoreTest, ThePrefixCacheFindsPagesAgain) {
  ThreadPool threads(1);
  const auto backend = MakeCpuBackend(*AvailableKernels({}).front(), &threads);
  const KvLayout layout{1, 1, 8, {DType::kF16, DType::kF16}, 4};
  PageStoreOptions options = Options();
  options.page_bytes = layout.page_bytes();
  std::vector<int32_t> tokens(640);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 7 % 101);
  const std::vector<Phase> phases(tokens.size(), Phase::kPrompt);
  for (int run = 0; run < 2; ++run) {
    auto pool = PagePool::Create(*backend, layout, 170);
    const auto store = MakeStore(options);
    PrefixCache cache(&*pool, store.get());
    const auto fill = [&](PageTable* table, size_t begin) {
      for (size_t i = begin; i < tokens.size(); ++i) {
        std::memcpy(pool->Keys(table->pages()[i / 4], 0) + i % 4 * 8, &tokens[i], sizeof(int32_t));
      }
    };
    int64_t loaded = 0;
    while (cache.Load({tokens, phases, false})) ++loaded;
    EXPECT_EQ(loaded, run == 0 ? 0 : 160);
    {
      PageTable table(&*pool);
      const size_t found = cache.Acquire({tokens, phases, false}, &table).size();
      EXPECT_EQ(found, run == 0 ? 0u : 640u);
      ASSERT_TRUE(table.Reserve(640).ok());
      fill(&table, found);
      cache.Insert(tokens, phases, {}, true, &table);
    }
    store->Flush();
    EXPECT_EQ(cache.Evict(1000), 160);
    if (run == 1) {  // a page too short and too new to be worth writing, but others follow it
      std::fstream file(Slabs().at(0), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(4096 + 3 * 4096 + 40);
      file.write("damage!!", 8);
      file.close();
      while (cache.Load({tokens, phases, false})) {
      }
      PageTable table(&*pool);
      const size_t found = cache.Acquire({tokens, phases, false}, &table).size();
      EXPECT_EQ(found, 12u);
      ASSERT_TRUE(table.Reserve(640).ok());
      fill(&table, found);
      cache.Insert(tokens, phases, {}, true, &table);
      store->Flush();
      table.Clear();
      cache.Evict(1000);
    }
    EXPECT_EQ(cache.Find({tokens, phases, false}).tokens, 0);
    while (cache.Load({tokens, phases, false})) {
    }
    PageTable table(&*pool);
    ASSERT_EQ(cache.Acquire({tokens, phases, false}, &table).size(), 640u);
    for (size_t i = 0; i < tokens.size(); ++i) {
      int32_t token = -1;
      std::memcpy(&token, pool->Keys(table.pages()[i / 4], 0) + i % 4 * 8, sizeof token);
      ASSERT_EQ(token, tokens[i]);
    }
  }
}

// On disk too a page is its client's, over a restart, and one of a shared text everybody's who begins with it.
TEST_F(PageStoreTest, NobodyFindsPagesOfOthersOnDisk) {
  ThreadPool threads(1);
  const auto backend = MakeCpuBackend(*AvailableKernels({}).front(), &threads);
  const KvLayout layout{1, 1, 8, {DType::kF16, DType::kF16}, 4};
  PageStoreOptions options = Options();
  options.page_bytes = layout.page_bytes();
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const std::vector<Phase> phases(tokens.size(), Phase::kPrompt);
  const CacheDomain ada{RootKey("ada"), RootKey("text"), 5}, bob{RootKey("bob"), RootKey("text"), 5};
  const CacheDomain stranger{RootKey("stranger"), {}, 0};
  {
    auto pool = PagePool::Create(*backend, layout, 20);
    const auto store = MakeStore(options);
    PrefixCache cache(&*pool, store.get());
    PageTable table(&*pool);
    ASSERT_TRUE(table.Reserve(12).ok());
    cache.Insert(tokens, phases, ada, true, &table);
    cache.Persist(10);
  }
  const auto loaded = [&](const CacheDomain& domain) {
    auto pool = PagePool::Create(*backend, layout, 20);
    const auto store = MakeStore(options);
    PrefixCache cache(&*pool, store.get());
    int count = 0;
    while (cache.Load({tokens, phases, false, domain})) ++count;
    EXPECT_EQ(cache.Find({tokens, phases, false, domain}).tokens, 4 * count);
    return count;
  };
  EXPECT_EQ(loaded(ada), 3);
  EXPECT_EQ(loaded(bob), 1);
  EXPECT_EQ(loaded(stranger), 0);
  EXPECT_EQ(loaded({}), 0);
}

// Before they leave memory, pages that nothing else would have written are handed over, predecessors first.
TEST_F(PageStoreTest, ThePrefixCacheHandsPagesOverWhenAsked) {
  ThreadPool threads(1);
  const auto backend = MakeCpuBackend(*AvailableKernels({}).front(), &threads);
  const KvLayout layout{1, 1, 8, {DType::kF16, DType::kF16}, 4};
  PageStoreOptions options = Options();
  options.page_bytes = layout.page_bytes();
  auto pool = PagePool::Create(*backend, layout, 20);
  const auto store = MakeStore(options);
  PrefixCache cache(&*pool, store.get());
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};  // three pages and a half
  const std::vector<Phase> phases(tokens.size(), Phase::kPrompt);
  {
    PageTable table(&*pool);
    ASSERT_TRUE(table.Reserve(14).ok());
    cache.Insert(tokens, phases, {}, true, &table);
  }
  const auto written = [&] {
    store->Flush();
    return store->stats().written;
  };
  EXPECT_EQ(written(), 0);
  cache.Persist(2);
  EXPECT_EQ(written(), 2);
  cache.Persist(2);
  EXPECT_EQ(written(), 3);
  cache.Persist(2);
  EXPECT_EQ(written(), 3);
  EXPECT_EQ(cache.pages(), 4);
  EXPECT_EQ(cache.Evict(10), 4);
  int loaded = 0;
  while (cache.Load({tokens, phases, false})) ++loaded;
  EXPECT_EQ(loaded, 3);
}

}  // namespace
}  // namespace inkstone

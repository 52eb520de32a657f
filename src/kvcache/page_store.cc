#include "kvcache/page_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "kvcache/private_folder.h"

namespace inkstone {
namespace {

constexpr uint64_t kSlabBytes = uint64_t{256} << 20;  // about; at least one page
constexpr size_t kQueueBytes = size_t{64} << 20;      // of copies that wait for the writer; at least four pages
constexpr uint64_t kReuseBonus = 256;                 // a page that was read is as good as one so many uses younger
constexpr int kWriterNice = 19;                       // decoding needs every core in every step

std::string Hex(const PageKey& key, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", key.bytes[i]);
    text += digits;
  }
  return text;
}

}  // namespace

PageStore::PageStore(PageStoreOptions options, const PageKey& root) : options_(std::move(options)), root_(root) {}

Result<std::unique_ptr<PageStore>> PageStore::Open(const PageStoreOptions& options) {
  auto store = std::unique_ptr<PageStore>(new PageStore(options, RootKey(options.identity)));
  const uint64_t one = SlabFile::FileBytes(options.page_bytes, 1);
  if (options.max_bytes < one) {
    return InvalidArgument(options.folder + ": a cache of " + std::to_string(options.max_bytes) +
                           " bytes holds no page: expected at least " + std::to_string(one));
  }
  const uint64_t slab = std::clamp(kSlabBytes, one, options.max_bytes);
  const uint64_t stride = SlabFile::FileBytes(options.page_bytes, 2) - one;
  store->blocks_per_slab_ = 1 + static_cast<int>((slab - one) / stride);
  store->max_slabs_ =
      static_cast<int>(options.max_bytes / SlabFile::FileBytes(options.page_bytes, store->blocks_per_slab_));
  store->slabs_.reserve(static_cast<size_t>(store->max_slabs_));  // readers keep pointers into it
  INK_RETURN_IF_ERROR(store->OpenFolder());
  store->Scan();
  store->writer_ = std::thread([raw = store.get()] { raw->WriterLoop(); });
  return store;
}

Status PageStore::OpenFolder() {
  INK_RETURN_IF_ERROR(MakePrivateFolder(options_.folder));
  struct stat facts {};
  if (stat(options_.folder.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode)) {
    return InvalidArgument(options_.folder + ": expected a folder");
  }
  if (facts.st_uid != geteuid()) {
    return InvalidArgument(options_.folder + ": expected a folder of this user, found another's");
  }
  const std::string path = options_.folder + "/" + Hex(root_, 8) + ".lock";
  lock_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock_ >= 0 && flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    close(lock_);
    lock_ = -1;
    stats_.trouble = "another process writes to " + options_.folder;
  } else if (lock_ < 0) {
    stats_.trouble = path + ": " + std::strerror(errno);
  }
  stats_.writable = lock_ >= 0;
  return Status::Ok();
}

std::string PageStore::SlabPath(int index) const {
  return options_.folder + "/" + Hex(root_, 8) + "-" + std::to_string(index) + ".slab";
}

Result<SlabFile> PageStore::OpenSlab(int index) const {
  return SlabFile::Open(SlabPath(index), root_, options_.page_bytes, blocks_per_slab_, lock_ >= 0);
}

void PageStore::AddSlab(SlabFile slab) {
  slabs_.push_back(std::move(slab));
  stats_.bytes += SlabFile::FileBytes(options_.page_bytes, blocks_per_slab_);
}

// What was written later was used later, as far as one can know.
void PageStore::Scan() {
  struct Found {
    StoredPage stored;
    Place place;
  };
  std::vector<Found> found;
  for (int index = 0; index < max_slabs_; ++index) {
    struct stat facts {};
    if (stat(SlabPath(index).c_str(), &facts) != 0) break;
    auto slab = OpenSlab(index);
    if (!slab.ok()) break;
    AddSlab(std::move(*slab));
    for (int block = 0; block < blocks_per_slab_; ++block) {
      auto stored = slabs_.back().ReadHeader(block);
      const Place place{index, block};
      if (stored && ChildKey(stored->parent, stored->tokens, stored->domain) == stored->key) {
        found.push_back({std::move(*stored), place});
      } else {
        free_.push_back(place);
      }
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.stored.generation < b.stored.generation; });
  for (const Found& f : found) Insert(f.stored, f.place, f.stored.generation);
  if (!found.empty()) time_ = found.back().stored.generation;
  for (auto& [key, entry] : entries_) entry.children = 0;
  for (const auto& [key, entry] : entries_) {
    if (const auto parent = entries_.find(entry.parent); parent != entries_.end()) {
      ++parent->second.children;
    } else if (entry.parent != root_) {
      lost_.insert(entry.parent);
    }
  }
}

void PageStore::Insert(const StoredPage& stored, Place place, uint64_t used) {
  const auto [entry, added] = entries_.insert({stored.key, {place, stored.parent, used}});
  if (!added) {
    free_.push_back(place);
    return;
  }
  // Pages are written after those that they follow, except for what was lost in between.
  if (lost_.erase(stored.key) > 0) {
    entry->second.children = static_cast<int>(
        std::count_if(entries_.begin(), entries_.end(), [&](const auto& e) { return e.second.parent == stored.key; }));
  }
  if (const auto parent = entries_.find(stored.parent); parent != entries_.end()) ++parent->second.children;
  stats_.pages = static_cast<int64_t>(entries_.size());
}

void PageStore::Erase(const PageKey& key) {
  const auto entry = entries_.find(key);
  if (entry == entries_.end()) return;
  if (const auto parent = entries_.find(entry->second.parent); parent != entries_.end()) --parent->second.children;
  lost_.erase(entry->second.parent);  // perhaps nothing follows it any more
  if (entry->second.children > 0) lost_.insert(key);
  free_.push_back(entry->second.place);
  entries_.erase(entry);
  stats_.pages = static_cast<int64_t>(entries_.size());
}

uint64_t PageStore::QueueBytes(size_t page_bytes) {
  return (1 + std::max<size_t>(4, kQueueBytes / page_bytes)) * page_bytes;
}

PageStore::~PageStore() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (writer_.joinable()) writer_.join();
  if (lock_ >= 0) close(lock_);
}

bool PageStore::Contains(const PageKey& key) const {
  const std::lock_guard lock(mutex_);
  return entries_.contains(key) || pending_.contains(key);
}

bool PageStore::Lost(const PageKey& key) const {
  const std::lock_guard lock(mutex_);
  return lost_.contains(key);
}

std::optional<StoredPage> PageStore::Read(const PageKey& key, std::span<std::byte> page) {
  Place place{};
  const SlabFile* slab = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = entries_.find(key);
    if (entry == entries_.end()) return std::nullopt;
    place = entry->second.place;
    slab = &slabs_[static_cast<size_t>(place.slab)];
    entry->second.used = ++time_ + kReuseBonus;
  }
  auto stored = slab->Read(place.block, key, page);  // the writer may replace it meanwhile, which the checksums tell
  const std::lock_guard lock(mutex_);
  if (stored) {
    ++stats_.read;
  } else {
    ++stats_.damaged;
    Erase(key);
  }
  return stored;
}

void PageStore::Write(StoredPage stored, std::span<const std::byte> page) {
  {
    const std::lock_guard lock(mutex_);
    if (!stats_.writable || entries_.contains(stored.key) || pending_.contains(stored.key)) return;
    const size_t most = QueueBytes(options_.page_bytes) / options_.page_bytes - 1;  // the one that is written is apart
    // A page without its predecessors would never be found.
    const bool reachable =
        stored.parent == root_ || entries_.contains(stored.parent) || pending_.contains(stored.parent);
    if (jobs_.size() >= most || !reachable || std::chrono::steady_clock::now() < retry_) {
      ++stats_.dropped;
      return;
    }
    stored.generation = ++time_;
    pending_.insert(stored.key);
    jobs_.push_back({std::move(stored), {page.begin(), page.end()}});
  }
  wake_.notify_one();
}

void PageStore::Flush() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return jobs_.empty() && !writing_; });
}

Result<PageStore::Place> PageStore::TakeBlock(const PageKey& parent, std::unique_lock<std::mutex>* lock) {
  if (free_.empty() && static_cast<int>(slabs_.size()) < max_slabs_) {
    const int index = static_cast<int>(slabs_.size());
    lock->unlock();  // where the file system cannot preallocate, all of the file is written now
    auto slab = OpenSlab(index);
    lock->lock();
    if (slab.ok()) {
      AddSlab(std::move(*slab));
      for (int block = blocks_per_slab_ - 1; block >= 0; --block) free_.push_back({index, block});
    } else if (slabs_.empty()) {
      retry_ = std::chrono::steady_clock::now() + options_.retry;
      return slab.status();
    }
    // else: the disk is full; what is there makes room
  }
  if (free_.empty()) {
    auto victim = entries_.end();
    for (auto e = entries_.begin(); e != entries_.end(); ++e) {
      if (e->second.children > 0 || e->first == parent) continue;
      if (victim == entries_.end() || e->second.used < victim->second.used) victim = e;
    }
    if (victim == entries_.end()) return ResourceExhausted(options_.folder + ": no room for a page");
    const PageKey key = victim->first;
    Erase(key);
    ++stats_.evicted;
  }
  const Place place = free_.back();
  free_.pop_back();
  return place;
}

void PageStore::WriteOne(const Job& job) {
  std::unique_lock lock(mutex_);
  const Result<Place> place = TakeBlock(job.stored.parent, &lock);
  Status status = place.ok() ? Status::Ok() : place.status();
  if (place.ok()) {
    SlabFile* slab = &slabs_[static_cast<size_t>(place->slab)];
    lock.unlock();
    status = slab->Write(place->block, job.stored, job.page);
    lock.lock();
  }
  pending_.erase(job.stored.key);
  stats_.trouble = status.message();
  if (status.ok()) {
    Insert(job.stored, *place, job.stored.generation);
    ++stats_.written;
    return;
  }
  ++stats_.dropped;
  if (place.ok()) free_.push_back(*place);
}

void PageStore::WriterLoop() {
  setpriority(PRIO_PROCESS, 0, kWriterNice);  // of this thread, on Linux
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    writing_ = true;
    lock.unlock();
    WriteOne(job);
    lock.lock();
    writing_ = false;
    if (jobs_.empty()) idle_.notify_all();
  }
}

PageStoreStats PageStore::stats() const {
  const std::lock_guard lock(mutex_);
  PageStoreStats stats = stats_;
  stats.queue_bytes = (jobs_.size() + (writing_ ? 1 : 0)) * options_.page_bytes;
  return stats;
}

}  // namespace inkstone

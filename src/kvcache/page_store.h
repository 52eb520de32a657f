// Pages of keys and values on disk, for prompts that come again after they have left memory or after a restart.
// A missing, foreign, damaged or half-written page is a page that is not there: never an error, never a wrong number.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "core/status.h"
#include "kvcache/page_key.h"
#include "kvcache/slab_file.h"

namespace inkstone {

struct PageStoreOptions {
  std::string folder;      // made if missing, private to the user
  uint64_t max_bytes = 0;  // of all its files
  std::string identity;    // of everything that shapes the numbers; other identities share the folder, not the pages
  size_t page_bytes = 0;
  std::chrono::milliseconds retry = std::chrono::seconds(30);  // until a disk that had no room is asked again
};

struct PageStoreStats {
  int64_t pages = 0;
  uint64_t bytes = 0;        // of disk space taken
  uint64_t queue_bytes = 0;  // of memory: copies that wait for the writer, and the one it writes
  int64_t written = 0;
  int64_t dropped = 0;  // not written: the writer was behind, or the disk refused
  int64_t evicted = 0;
  int64_t read = 0;
  int64_t damaged = 0;    // found not to be what their header said
  bool writable = false;  // no other process has the folder
  std::string trouble;    // why the latest page was not written, empty when it was
};

// Read, Contains and Write belong to one thread; writing happens on another.
class PageStore {
 public:
  // Scans what is there. kInvalidArgument when the folder cannot be used.
  static Result<std::unique_ptr<PageStore>> Open(const PageStoreOptions& options);
  // Memory that copies on their way to disk take at most.
  static uint64_t QueueBytes(size_t page_bytes);
  // Returns when what was handed over is written.
  ~PageStore();

  const PageKey& root() const { return root_; }
  bool Contains(const PageKey& key) const;
  // Whether pages are here that follow this one, which is not: it is worth writing again, whatever else says.
  bool Lost(const PageKey& key) const;
  // The page to `page`, if it is there and whole.
  std::optional<StoredPage> Read(const PageKey& key, std::span<std::byte> page);
  // Takes a copy of the page, to be written when there is time; the generation is set here.
  void Write(StoredPage stored, std::span<const std::byte> page);
  // Waits until what was handed over is written.
  void Flush();
  PageStoreStats stats() const;

 private:
  struct Place {
    int slab;
    int block;
  };
  struct Entry {
    Place place;
    PageKey parent;
    uint64_t used;     // time of the latest use; a page read twice counts like a younger one
    int children = 0;  // pages here that follow it
  };
  struct Job {
    StoredPage stored;
    std::vector<std::byte> page;
  };

  PageStore(PageStoreOptions options, const PageKey& root);
  Status OpenFolder();
  void Scan();
  Result<SlabFile> OpenSlab(int index) const;
  void AddSlab(SlabFile slab);
  std::string SlabPath(int index) const;
  void Insert(const StoredPage& stored, Place place, uint64_t used);
  void Erase(const PageKey& key);
  // A free block for a page that follows `parent`: a new one, or that of the page that is missed least. Lets the lock
  // go while it makes a file.
  Result<Place> TakeBlock(const PageKey& parent, std::unique_lock<std::mutex>* lock);
  void WriterLoop();
  void WriteOne(const Job& job);

  const PageStoreOptions options_;
  const PageKey root_;
  int blocks_per_slab_ = 0;
  int max_slabs_ = 0;
  int lock_ = -1;  // descriptor of the lock file; -1: another process writes

  mutable std::mutex mutex_;
  std::condition_variable wake_, idle_;
  // Guarded by mutex_, the files' contents excepted:
  std::vector<SlabFile> slabs_;
  std::vector<Place> free_;
  std::map<PageKey, Entry> entries_;
  std::set<PageKey> lost_;     // not here, and something here follows them
  std::set<PageKey> pending_;  // handed over and not written yet
  std::deque<Job> jobs_;
  bool writing_ = false;
  bool stop_ = false;
  uint64_t time_ = 0;
  std::chrono::steady_clock::time_point retry_ = {};  // until then nothing is written
  PageStoreStats stats_;

  std::thread writer_;
};

}  // namespace inkstone

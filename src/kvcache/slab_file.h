// One preallocated file of equal blocks, each a page of keys and values with a header that says what it is.
//
// Layout, native byte order: a head of 4,096 bytes (magic, root key, bytes of a page), then blocks of `stride` bytes:
// 1,024 bytes of header and the page, padded to 4,096. A header is written after its page and carries checksums of both
// (XXH3), so that whatever a crash, a full disk or another writer leaves is a block that is not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "core/status.h"
#include "kvcache/page_key.h"

namespace inkstone {

// What a block's header says of its page.
struct StoredPage {
  PageKey key;
  PageKey parent;
  uint64_t generation = 0;  // larger for what was written later
  std::vector<int32_t> tokens;
  std::vector<Phase> phases;  // as many
  PageKey domain = {};        // whose it is; zeros: everybody's
};

class SlabFile {
 public:
  static constexpr size_t kMaxTokens = 64;  // of a page

  // Bytes of a file for `blocks` pages.
  static uint64_t FileBytes(size_t page_bytes, int blocks);
  // Opens a file of this root and size, or makes one, private to the user and with its disk space taken.
  // kInvalidArgument when the file is another's (it is left as it is), kResourceExhausted when the disk is full.
  static Result<SlabFile> Open(const std::string& path, const PageKey& root, size_t page_bytes, int blocks,
                               bool writable);
  SlabFile(SlabFile&& other) noexcept;
  SlabFile& operator=(SlabFile&& other) noexcept;
  ~SlabFile();

  int blocks() const { return blocks_; }
  // The header of a block, if there is a whole one.
  std::optional<StoredPage> ReadHeader(int block) const;
  // The page of a block to `page` (page_bytes), if header and page are whole and the page is `key`.
  std::optional<StoredPage> Read(int block, const PageKey& key, std::span<std::byte> page) const;
  Status Write(int block, const StoredPage& stored, std::span<const std::byte> page);

 private:
  SlabFile(std::string path, int fd, size_t page_bytes, int blocks)
      : path_(std::move(path)), fd_(fd), page_bytes_(page_bytes), blocks_(blocks) {}
  uint64_t Offset(int block) const;

  std::string path_;
  int fd_ = -1;
  size_t page_bytes_ = 0;
  int blocks_ = 0;
};

}  // namespace inkstone

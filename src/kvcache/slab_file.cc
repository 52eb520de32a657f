#include "kvcache/slab_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace inkstone {
namespace {

constexpr uint64_t kFileMagic = 0x31424c534b4e4921;   // "!INKSLB1"
constexpr uint64_t kBlockMagic = 0x3245474150564b21;  // "!KVPAGE2"
constexpr size_t kAlignment = 4096;
constexpr size_t kHeaderBytes = 1024;

struct FileHead {
  uint64_t magic;
  PageKey root;
  uint64_t page_bytes;
};

struct BlockHeader {
  uint64_t magic;
  uint64_t generation;
  PageKey key;
  PageKey parent;
  PageKey domain;
  uint64_t page_bytes;
  uint64_t page_hash[2];
  uint32_t count;  // of tokens
  uint32_t unused;
  std::array<int32_t, SlabFile::kMaxTokens> tokens;
  std::array<uint8_t, SlabFile::kMaxTokens> phases;
  uint64_t header_hash;  // of everything before it
};
static_assert(sizeof(BlockHeader) <= kHeaderBytes);

size_t Stride(size_t page_bytes) { return (kHeaderBytes + page_bytes + kAlignment - 1) / kAlignment * kAlignment; }

uint64_t HeaderHash(const BlockHeader& header) { return XXH3_64bits(&header, offsetof(BlockHeader, header_hash)); }

bool ReadAll(int fd, void* out, size_t size, uint64_t offset) {
  auto* at = static_cast<std::byte*>(out);
  while (size > 0) {
    const ssize_t n = pread(fd, at, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<size_t>(n);
    offset += static_cast<uint64_t>(n);
  }
  return true;
}

Status Failed(const std::string& path, const char* what) {
  const std::string message = path + ": " + what + ": " + std::strerror(errno);
  return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? ResourceExhausted(message) : Internal(message);
}

Status WriteAll(const std::string& path, int fd, const void* data, size_t size, uint64_t offset) {
  const auto* at = static_cast<const std::byte*>(data);
  while (size > 0) {
    const ssize_t n = pwrite(fd, at, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Failed(path, "writing");
    at += n;
    size -= static_cast<size_t>(n);
    offset += static_cast<uint64_t>(n);
  }
  return Status::Ok();
}

bool Plausible(const BlockHeader& header) {
  return header.magic == kBlockMagic && header.count > 0 && header.count <= SlabFile::kMaxTokens &&
         header.header_hash == HeaderHash(header) &&
         std::all_of(header.phases.begin(), header.phases.begin() + header.count, [](uint8_t p) { return p <= 1; });
}

StoredPage Describe(const BlockHeader& header) {
  StoredPage stored{header.key, header.parent, header.generation, {}, {}, header.domain};
  stored.tokens.assign(header.tokens.begin(), header.tokens.begin() + header.count);
  for (uint32_t i = 0; i < header.count; ++i) stored.phases.push_back(static_cast<Phase>(header.phases[i]));
  return stored;
}

// What a file may be: none yet (new, or begun by a process that was killed before the head was there), ours, or
// another's.
enum class FileKind { kNew, kOurs, kForeign };

FileKind KindOf(int fd, const struct stat& facts, const FileHead& head) {
  // Others may be able to put files into the folder, whose mode is its owner's business.
  if (!S_ISREG(facts.st_mode) || facts.st_uid != geteuid() || facts.st_nlink > 1) return FileKind::kForeign;
  FileHead found{};
  if (facts.st_size == 0) return FileKind::kNew;
  if (!ReadAll(fd, &found, sizeof found, 0)) return FileKind::kForeign;
  if (std::memcmp(&found, &head, sizeof head) == 0) return FileKind::kOurs;
  const FileHead zeros{};
  return std::memcmp(&found, &zeros, sizeof zeros) == 0 ? FileKind::kNew : FileKind::kForeign;
}

// A new file gets its disk space and then its head; one of another size, cut short or made under another cap, gets the
// size it should have. Blocks tell by themselves whether they are whole.
Status Prepare(const std::string& path, int fd, const FileHead& head, uint64_t bytes, bool writable) {
  struct stat facts {};
  if (fstat(fd, &facts) != 0) return Failed(path, "reading its size");
  const FileKind kind = KindOf(fd, facts, head);
  const auto size = static_cast<uint64_t>(facts.st_size);
  if (kind == FileKind::kOurs && size == bytes) return Status::Ok();
  if (kind == FileKind::kForeign || !writable) {
    return InvalidArgument(path + ": expected a slab of this model's pages, found another file");
  }
  if (size > bytes && ftruncate(fd, static_cast<off_t>(bytes)) != 0) return Failed(path, "making it smaller");
  if ((errno = posix_fallocate(fd, 0, static_cast<off_t>(bytes))) != 0) return Failed(path, "taking disk space");
  return kind == FileKind::kNew ? WriteAll(path, fd, &head, sizeof head, 0) : Status::Ok();
}

}  // namespace

uint64_t SlabFile::FileBytes(size_t page_bytes, int blocks) {
  return kAlignment + static_cast<uint64_t>(blocks) * Stride(page_bytes);
}

Result<SlabFile> SlabFile::Open(const std::string& path, const PageKey& root, size_t page_bytes, int blocks,
                                bool writable) {
  const int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (writable ? O_RDWR | O_CREAT : O_RDONLY);
  const int fd = open(path.c_str(), flags, 0600);
  if (fd < 0) return Failed(path, "opening");
  SlabFile file(path, fd, page_bytes, blocks);
  const Status status = Prepare(path, fd, {kFileMagic, root, page_bytes}, FileBytes(page_bytes, blocks), writable);
  if (status.ok()) return file;
  // A file that was begun and could not be finished would stay useless.
  if (writable && status.code() != StatusCode::kInvalidArgument) unlink(path.c_str());
  return status;
}

SlabFile::SlabFile(SlabFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      page_bytes_(other.page_bytes_),
      blocks_(other.blocks_) {}

SlabFile& SlabFile::operator=(SlabFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(page_bytes_, other.page_bytes_);
  std::swap(blocks_, other.blocks_);
  return *this;
}

SlabFile::~SlabFile() {
  if (fd_ >= 0) close(fd_);
}

uint64_t SlabFile::Offset(int block) const { return kAlignment + static_cast<uint64_t>(block) * Stride(page_bytes_); }

std::optional<StoredPage> SlabFile::ReadHeader(int block) const {
  BlockHeader header;
  if (!ReadAll(fd_, &header, sizeof header, Offset(block)) || !Plausible(header)) return std::nullopt;
  return header.page_bytes == page_bytes_ ? std::optional(Describe(header)) : std::nullopt;
}

std::optional<StoredPage> SlabFile::Read(int block, const PageKey& key, std::span<std::byte> page) const {
  BlockHeader header;
  if (!ReadAll(fd_, &header, sizeof header, Offset(block)) || !Plausible(header)) return std::nullopt;
  if (header.key != key || header.page_bytes != page_bytes_ || page.size() != page_bytes_) return std::nullopt;
  if (!ReadAll(fd_, page.data(), page.size(), Offset(block) + kHeaderBytes)) return std::nullopt;
  const XXH128_hash_t hash = XXH3_128bits(page.data(), page.size());
  if (hash.low64 != header.page_hash[0] || hash.high64 != header.page_hash[1]) return std::nullopt;
  return Describe(header);
}

Status SlabFile::Write(int block, const StoredPage& stored, std::span<const std::byte> page) {
  if (stored.tokens.size() > kMaxTokens || stored.phases.size() != stored.tokens.size() || page.size() != page_bytes_) {
    return InvalidArgument(path_ + ": a page of " + std::to_string(page.size()) + " bytes with " +
                           std::to_string(stored.tokens.size()) + " tokens does not fit");
  }
  BlockHeader header{};
  // What was there stops being a page before its bytes change.
  INK_RETURN_IF_ERROR(WriteAll(path_, fd_, &header, sizeof header, Offset(block)));
  INK_RETURN_IF_ERROR(WriteAll(path_, fd_, page.data(), page.size(), Offset(block) + kHeaderBytes));
  header.magic = kBlockMagic;
  header.generation = stored.generation;
  header.key = stored.key;
  header.parent = stored.parent;
  header.domain = stored.domain;
  header.page_bytes = page_bytes_;
  const XXH128_hash_t hash = XXH3_128bits(page.data(), page.size());
  header.page_hash[0] = hash.low64;
  header.page_hash[1] = hash.high64;
  header.count = static_cast<uint32_t>(stored.tokens.size());
  std::copy(stored.tokens.begin(), stored.tokens.end(), header.tokens.begin());
  for (size_t i = 0; i < stored.phases.size(); ++i) header.phases[i] = static_cast<uint8_t>(stored.phases[i]);
  header.header_hash = HeaderHash(header);
  return WriteAll(path_, fd_, &header, sizeof header, Offset(block));
}

}  // namespace inkstone

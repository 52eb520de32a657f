#include "core/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/locked_file.h"
#include "core/units.h"

namespace inkstone {
namespace {
// Written pages are handed to the disk in steps, so that dirty page cache never fills a small machine.
constexpr uint64_t kFlushStep = uint64_t{64} << 20;
}  // namespace

Result<AtomicFile> AtomicFile::Create(const std::string& path) {
  INK_ASSIGN_OR_RETURN(std::string target, OutputTarget(path));
  INK_ASSIGN_OR_RETURN(const int fd, OpenLocked(target + ".part", OpenMode::kCreateOrEmpty));
  return AtomicFile(std::move(target), fd);
}

Result<AtomicFile> AtomicFile::Resume(const std::string& path, uint64_t bytes, std::string_view head) {
  INK_ASSIGN_OR_RETURN(std::string target, OutputTarget(path));
  const std::string part = target + ".part";
  INK_ASSIGN_OR_RETURN(const int fd, OpenLocked(part, OpenMode::kExisting));
  AtomicFile file(std::move(target), fd);
  file.keep_part_ = true;  // whatever is wrong with it, it is not this call's to remove
  const off_t size = ::lseek(fd, 0, SEEK_END);
  if (size < 0 || static_cast<uint64_t>(size) < bytes) {
    return DataLoss(part + ": expected at least " + std::to_string(bytes) + " bytes, found " + std::to_string(size));
  }
  std::string found(head.size(), '\0');
  if (::pread(fd, found.data(), found.size(), 0) != static_cast<ssize_t>(head.size()) || found != head) {
    return DataLoss(part + ": its beginning is not that of the file to write now, which other inputs or options make");
  }
  const off_t end = static_cast<off_t>(bytes);
  if (::ftruncate(fd, end) != 0 || ::lseek(fd, end, SEEK_SET) != end) {
    return Internal(part + ": cannot cut it at byte " + std::to_string(bytes) + ": " + std::strerror(errno));
  }
  file.position_ = bytes;
  file.keep_part_ = false;
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      position_(other.position_),
      keep_part_(other.keep_part_) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(position_, other.position_);
  std::swap(keep_part_, other.keep_part_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  const std::string part = path_ + ".part";
  if (!keep_part_ && IsFileOf(fd_, part)) ::unlink(part.c_str());  // before others can lock it
  ::close(fd_);
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  const uint64_t before = position_;
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return ResourceExhausted(path_ + ".part: cannot write after " + FormatBytes(position_) + ": " +
                               std::strerror(errno));
    }
    position_ += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
#if defined(__linux__)
  if (before / kFlushStep != position_ / kFlushStep) ::sync_file_range(fd_, 0, 0, SYNC_FILE_RANGE_WRITE);
#endif
  return Status::Ok();
}

Status AtomicFile::Sync() {
  if (::fsync(fd_) != 0) return ResourceExhausted(path_ + ".part: cannot flush: " + std::strerror(errno));
  return Status::Ok();
}

Status AtomicFile::Commit() {
  INK_RETURN_IF_ERROR(Sync());
  if (!IsFileOf(fd_, path_ + ".part")) {
    return Internal(path_ + ".part: was replaced or removed while it was written; run again");
  }
  // Looked at again, after what may have been hours. Links were followed when the file was created.
  INK_ASSIGN_OR_RETURN(const std::string target, OutputTarget(path_));
  if (target != path_) return InvalidArgument(path_ + ": became a symbolic link while the file was written; run again");
  if (::rename((path_ + ".part").c_str(), path_.c_str()) != 0) {
    return Internal(path_ + ": cannot rename the finished file: " + std::strerror(errno));
  }
  ::close(std::exchange(fd_, -1));
  return Status::Ok();
}

}  // namespace inkstone

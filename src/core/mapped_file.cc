#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/mapping_faults.h"

namespace inkstone {

Result<MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe has nobody to wait for
  if (fd < 0) return NotFound(path + ": cannot open: " + std::strerror(errno));
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return InvalidArgument(path + ": expected a regular file");
  }
  if (info.st_size == 0) {
    ::close(fd);
    return InvalidArgument(path + ": the file is empty");
  }
  const size_t size = static_cast<size_t>(info.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  const int map_errno = errno;
  ::close(fd);
  if (data == MAP_FAILED) return Internal(path + ": cannot map: " + std::strerror(map_errno));
  // Where the file system can, it reads in huge pages from now on: fewer address translations for every token.
  ::madvise(data, size, MADV_HUGEPAGE);
  NoteMapping(data, size, path);
  return MappedFile(path, static_cast<const std::byte*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  ForgetMapping(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::Advise(size_t offset, size_t length, int advice) const {
  if (offset >= size_) return;
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t end = offset + std::min(length, size_ - offset);
  const size_t begin = offset / page * page;
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, advice);
}

void MappedFile::WillNeed(size_t offset, size_t length) const { Advise(offset, length, MADV_WILLNEED); }
void MappedFile::DontNeed(size_t offset, size_t length) const { Advise(offset, length, MADV_DONTNEED); }

}  // namespace inkstone

// A read-only memory mapping of a whole file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "core/status.h"

namespace inkstone {

class MappedFile {
 public:
  // Maps a regular file. Errors: kNotFound, kInvalidArgument (not a regular file, or empty), kInternal (mmap failed).
  static Result<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  size_t size() const { return size_; }

  // Hints for a byte range; a no-op where the system refuses.
  void WillNeed(size_t offset, size_t length) const;
  // The range was read once and is not needed again: lets its pages leave this process's resident set.
  void DontNeed(size_t offset, size_t length) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}
  void Advise(size_t offset, size_t length, int advice) const;

  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace inkstone

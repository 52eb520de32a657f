// A file that appears under its final name only when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/status.h"

namespace inkstone {

// Writes to "<path>.part", then fsyncs and renames on Commit. Without Commit the part file is removed.
class AtomicFile {
 public:
  static Result<AtomicFile> Create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // Appends. A full disk is kResourceExhausted and names the file and the bytes written so far.
  Status Write(std::span<const std::byte> bytes);
  Status Write(const void* data, size_t size) { return Write({static_cast<const std::byte*>(data), size}); }
  uint64_t position() const { return position_; }
  Status Commit();

 private:
  AtomicFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_ = -1;
  uint64_t position_ = 0;
};

}  // namespace inkstone

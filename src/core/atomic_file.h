// A file that appears under its final name only when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"

namespace inkstone {

// Writes to "<path>.part", then fsyncs and renames on Commit. Without Commit the part file is removed, unless KeepPart
// was called; a process that is killed leaves it. Where `path` is a symbolic link, the file it leads to is meant and
// the link stays. kInvalidArgument where a folder, device, pipe or socket has the name; kUnavailable while another run
// writes the same file: the part file is locked until it is renamed.
class AtomicFile {
 public:
  // An empty part file, whatever an earlier run left.
  static Result<AtomicFile> Create(const std::string& path);
  // Goes on after the first `bytes` bytes of the part file that an earlier run left; the rest is cut off. kNotFound
  // without such a file, kDataLoss when it is shorter or does not begin with `head`: then it stays as it is.
  static Result<AtomicFile> Resume(const std::string& path, uint64_t bytes, std::string_view head = {});
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // Appends. A full disk is kResourceExhausted and names the file and the bytes written so far.
  Status Write(std::span<const std::byte> bytes);
  Status Write(const void* data, size_t size) { return Write({static_cast<const std::byte*>(data), size}); }
  uint64_t position() const { return position_; }
  // Returns when everything written is on the disk.
  Status Sync();
  // Leaves the part file for Resume where Commit does not happen.
  void KeepPart() { keep_part_ = true; }
  Status Commit();

 private:
  AtomicFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_ = -1;
  uint64_t position_ = 0;
  bool keep_part_ = false;
};

}  // namespace inkstone

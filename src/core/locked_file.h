// Files that one process at a time writes.
#pragma once

#include <sys/types.h>

#include <string>

#include "core/status.h"

namespace inkstone {

// "a regular file", "a folder", "a device", "a named pipe", "a socket", "a symbolic link".
const char* FileKindName(mode_t mode);

// Where a file of this name is written: the path itself, or what its symbolic links lead to, which need not exist yet.
// kInvalidArgument, naming what it is, where something other than a regular file is there.
Result<std::string> OutputTarget(const std::string& path);

enum class OpenMode {
  kCreateOrEmpty,  // an empty file
  kExisting,       // as it is; kNotFound where there is none
};

// A descriptor for reading and writing of a regular file, which stays locked until it is closed. Symbolic links are not
// followed, and a file that has a second name is refused. kUnavailable where another run has the file.
Result<int> OpenLocked(const std::string& path, OpenMode mode);

// Whether the descriptor's file still has this name.
bool IsFileOf(int fd, const std::string& path);

// A claim on the work that ends in an output file, held from its beginning: the file "<output>.part.lock".
class OutputLock {
 public:
  static Result<OutputLock> Take(const std::string& output);
  OutputLock(OutputLock&& other) noexcept;
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;
  ~OutputLock();  // removes the file

 private:
  OutputLock(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
};

}  // namespace inkstone

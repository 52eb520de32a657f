#include "core/locked_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

namespace inkstone {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxLinks = 40;  // as Linux follows at most
constexpr int kMaxTries = 16;  // others may rename and remove the file between its opening and its locking
constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;

Status Failed(const std::string& path, int code) {
  const std::string message = path + ": cannot " + (code == ENOENT ? "open: " : "create: ") + std::strerror(code);
  return code == ENOENT ? NotFound(message) : InvalidArgument(message);
}

// What is wrong with the file that was opened; nothing to say where it has left its name meanwhile.
Status CheckOpened(const std::string& path, int fd) {
  struct stat facts {};
  if (::fstat(fd, &facts) != 0) return Internal(path + ": cannot look it up: " + std::strerror(errno));
  if (!S_ISREG(facts.st_mode)) {
    return InvalidArgument(path + ": expected a regular file or none, found " + FileKindName(facts.st_mode));
  }
  if (facts.st_nlink > 1) {
    return InvalidArgument(path + ": expected a file of one name, found " + std::to_string(facts.st_nlink) +
                           " names (hard links); remove this one");
  }
  return Status::Ok();
}

// One try. nullopt: the file was renamed or removed meanwhile.
Result<std::optional<int>> TryOpen(const std::string& path, OpenMode mode) {
  int fd = -1;
  if (mode == OpenMode::kCreateOrEmpty) {
    fd = ::open(path.c_str(), kFlags | O_CREAT | O_EXCL, 0644);
    if (fd < 0 && errno != EEXIST) {
      return InvalidArgument(path + ": cannot create: " + std::strerror(errno));
    }
  }
  if (fd < 0) {
    // Looked at first, because opening a device may already do something.
    struct stat facts {};
    if (::lstat(path.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode)) {
      return InvalidArgument(path + ": expected a regular file or none, found " + FileKindName(facts.st_mode));
    }
    fd = ::open(path.c_str(), kFlags);
    if (fd < 0 && errno == ENOENT && mode == OpenMode::kCreateOrEmpty) return std::optional<int>();
    if (fd < 0) return Failed(path, errno);
  }
  // A file system that has no locks is not refused.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(fd);
    return Unavailable(path + ": another run is writing it; wait for that run or choose another name");
  }
  if (!IsFileOf(fd, path)) {
    ::close(fd);
    return std::optional<int>();
  }
  Status status = CheckOpened(path, fd);
  if (status.ok() && mode == OpenMode::kCreateOrEmpty && ::ftruncate(fd, 0) != 0) {
    status = Internal(path + ": cannot empty it: " + std::strerror(errno));
  }
  if (status.ok()) return std::optional<int>(fd);
  ::close(fd);
  return status;
}

}  // namespace

const char* FileKindName(mode_t mode) {
  if (S_ISREG(mode)) return "a regular file";
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  if (S_ISFIFO(mode)) return "a named pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return S_ISLNK(mode) ? "a symbolic link" : "something unknown";
}

Result<std::string> OutputTarget(const std::string& path) {
  fs::path target = path;
  for (int links = 0; links <= kMaxLinks; ++links) {
    struct stat facts {};
    if (::lstat(target.c_str(), &facts) != 0) return target.string();  // whoever creates it says what is wrong
    if (!S_ISLNK(facts.st_mode)) {
      if (S_ISREG(facts.st_mode)) return target.string();
      return InvalidArgument(path + ": is " + FileKindName(facts.st_mode) +
                             ", which a finished file would replace; expected the name of a regular file");
    }
    // Links of /proc lead to what their text does not name.
    struct stat meant {};
    if (::stat(target.c_str(), &meant) == 0 && !S_ISREG(meant.st_mode)) {
      return InvalidArgument(path + ": leads to " + FileKindName(meant.st_mode) +
                             ", which a finished file would replace; expected the name of a regular file");
    }
    std::error_code error;
    const fs::path next = fs::read_symlink(target, error);
    if (error) return InvalidArgument(path + ": cannot follow the symbolic link: " + error.message());
    target = target.parent_path() / next;
  }
  return InvalidArgument(path + ": expected the name of a file, found a circle of symbolic links");
}

Result<int> OpenLocked(const std::string& path, OpenMode mode) {
  for (int i = 0; i < kMaxTries; ++i) {
    INK_ASSIGN_OR_RETURN(const std::optional<int> fd, TryOpen(path, mode));
    if (fd) return *fd;
  }
  return Unavailable(path + ": other runs keep replacing it; wait for them or choose another name");
}

bool IsFileOf(int fd, const std::string& path) {
  struct stat opened {
  }, named{};
  return ::fstat(fd, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

Result<OutputLock> OutputLock::Take(const std::string& output) {
  INK_ASSIGN_OR_RETURN(const std::string target, OutputTarget(output));
  std::string path = target + ".part.lock";
  const Result<int> fd = OpenLocked(path, OpenMode::kCreateOrEmpty);
  if (fd.ok()) return OutputLock(std::move(path), *fd);
  if (fd.status().code() != StatusCode::kUnavailable) return fd.status();
  return Unavailable(output + ": another run is writing it; wait for that run or choose another name");
}

OutputLock::OutputLock(OutputLock&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

OutputLock::~OutputLock() {
  if (fd_ < 0) return;
  ::unlink(path_.c_str());  // before others can lock it
  ::close(fd_);
}

}  // namespace inkstone

#include "kvcache/spill_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "backends/backend.h"
#include "core/units.h"
#include "kvcache/private_folder.h"

namespace inkstone {
namespace {

constexpr size_t kDirectAlignment = 4096;  // of blocks and memory: enough for every disk

}  // namespace

Result<std::unique_ptr<SpillFile>> SpillFile::Create(const std::string& folder, uint64_t bytes) {
  INK_RETURN_IF_ERROR(MakePrivateFolder(folder));
  auto file = std::unique_ptr<SpillFile>(new SpillFile(folder));
  std::string path = folder + "/spill-XXXXXX";
  file->file_ = mkostemp(path.data(), O_CLOEXEC);  // for this user only
  if (file->file_ < 0) return InvalidArgument(folder + ": no file can be made there: " + std::strerror(errno));
  file->TryDirect(path);
  unlink(path.c_str());
  if (const int code = posix_fallocate(file->file_, 0, static_cast<off_t>(bytes)); code != 0) {
    return ResourceExhausted(folder + ": no room for a spill file of " + FormatBytes(bytes) + ": " +
                             std::strerror(code));
  }
  return file;
}

SpillFile::~SpillFile() {
  if (file_ >= 0) close(file_);
  if (direct_ >= 0) close(direct_);
}

// Some file systems take the flag and refuse to read.
void SpillFile::TryDirect(const std::string& path) {
  auto probe = DeviceBuffer::Map(kDirectAlignment);
  if (!probe.ok() || ftruncate(file_, kDirectAlignment) != 0) return;
  direct_ = open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
  if (direct_ >= 0 && pread(direct_, probe->data(), kDirectAlignment, 0) != ssize_t{kDirectAlignment}) {
    close(direct_);
    direct_ = -1;
  }
}

size_t SpillFile::alignment() const { return direct_ >= 0 ? kDirectAlignment : 1; }

Status SpillFile::Read(uint64_t offset, std::span<std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = pread(direct_ >= 0 ? direct_ : file_, bytes.data() + done, bytes.size() - done,
                                static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      return DataLoss(folder_ + ": the spill file: expected " + std::to_string(bytes.size()) + " bytes at " +
                      std::to_string(offset) + ", found " + std::to_string(done) + ": " +
                      (count < 0 ? std::strerror(errno) : "its end"));
    }
    done += static_cast<size_t>(count);
  }
  // What was written went through the page cache; it need not stay there.
  posix_fadvise(file_, static_cast<off_t>(offset), static_cast<off_t>(bytes.size()), POSIX_FADV_DONTNEED);
  return Status::Ok();
}

Status SpillFile::Write(uint64_t offset, std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = pwrite(file_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      return ResourceExhausted(folder_ + ": the spill file: " + std::to_string(bytes.size()) + " bytes at " +
                               std::to_string(offset) + " cannot be written: " + std::strerror(errno));
    }
    done += static_cast<size_t>(count);
  }
  return Status::Ok();
}

}  // namespace inkstone

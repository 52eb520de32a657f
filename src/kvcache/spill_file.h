// The file that keys and values of running sequences move to when memory is full: private, temporary and without a
// name, so that nothing of it is left whatever happens. An interface, for tests in which disks fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/status.h"

namespace inkstone {

class SpillDevice {
 public:
  virtual ~SpillDevice() = default;
  // Offset, address and size must be multiples of alignment(), a power of two. One thread reads, another writes; what
  // is read where something is being written is undefined. kDataLoss unless all of it came.
  virtual Status Read(uint64_t offset, std::span<std::byte> bytes) = 0;
  virtual size_t alignment() const = 0;
  // Anywhere; kResourceExhausted unless all of it went.
  virtual Status Write(uint64_t offset, std::span<const std::byte> bytes) = 0;
};

class SpillFile final : public SpillDevice {
 public:
  // Makes the folder if it is missing, and takes all the space at once: kResourceExhausted when the disk has less.
  static Result<std::unique_ptr<SpillFile>> Create(const std::string& folder, uint64_t bytes);
  ~SpillFile() override;
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  Status Read(uint64_t offset, std::span<std::byte> bytes) override;
  size_t alignment() const override;
  Status Write(uint64_t offset, std::span<const std::byte> bytes) override;

 private:
  explicit SpillFile(std::string folder) : folder_(std::move(folder)) {}
  void TryDirect(const std::string& path);

  const std::string folder_;  // for messages
  int file_ = -1;
  int direct_ = -1;  // the same file, past the page cache; -1 where the file system does not allow it
};

}  // namespace inkstone

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "backends/backend.h"

namespace inkstone {

Result<DeviceBuffer> DeviceBuffer::Map(size_t bytes) {
  if (bytes == 0) return DeviceBuffer();
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return ResourceExhausted("cannot reserve " + std::to_string(bytes) + " bytes of memory");
  return DeviceBuffer(static_cast<std::byte*>(data), bytes);
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void DeviceBuffer::GiveBack(size_t offset, size_t bytes) {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page;  // a mapping begins at a page
  const size_t end = std::min(offset + bytes, size_) / page * page;
  if (end > begin) ::madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace inkstone

#include <sys/mman.h>

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

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace inkstone

// Brings spilled pages back, layer by layer, ahead of use: two buffers, of which one is computed with while a thread of
// its own fills the other. Every block has a checksum, so that what a disk returns is what was written or an error.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "backends/backend.h"
#include "core/status.h"
#include "kvcache/spill_file.h"

namespace inkstone {

// A step reads all pages of one layer, then all of the next: so the file has one region for each layer, and in it the
// slots one after another.
struct SpillLayout {
  int layers = 0;
  int64_t slots = 0;       // pages
  size_t layer_bytes = 0;  // of one page

  static constexpr uint64_t kRegionAlignment = 4096;
  uint64_t region_bytes() const {
    const uint64_t bytes = static_cast<uint64_t>(slots) * layer_bytes;
    return (bytes + kRegionAlignment - 1) / kRegionAlignment * kRegionAlignment;
  }
  uint64_t file_bytes() const { return region_bytes() * static_cast<uint64_t>(layers); }
  uint64_t Offset(int layer, int32_t slot) const {
    return static_cast<uint64_t>(layer) * region_bytes() + static_cast<uint64_t>(slot) * layer_bytes;
  }
  // Of a block in `checksums`: (layers, slots).
  size_t Index(int layer, int32_t slot) const { return static_cast<size_t>(layer * slots + slot); }
};

// All but the constructor's thread is the engine's.
class SpillReader {
 public:
  // `device` and `checksums` are borrowed. Takes the memory of both buffers, each an image of one layer's region.
  static Result<std::unique_ptr<SpillReader>> Create(SpillDevice* device, const SpillLayout& layout,
                                                     const std::vector<uint64_t>* checksums);
  ~SpillReader();
  SpillReader(const SpillReader&) = delete;
  SpillReader& operator=(const SpillReader&) = delete;

  // Waits until the layer's blocks of these slots are in memory, then has the same slots of the next layer read, after
  // the last those of the first. kDataLoss when a block does not come back as it was written.
  Status Fetch(int layer, std::span<const int32_t> slots);
  // Of the layer and a slot that the latest Fetch was for.
  std::byte* Block(int layer, int32_t slot) const;
  // The slot is about to get other content.
  void Forget(int32_t slot);

  uint64_t read_bytes() const;
  // Resident bytes of both buffers. Thread-safe.
  uint64_t BufferBytes() const;
  double wait_seconds() const { return wait_seconds_; }

 private:
  struct Buffer {
    DeviceBuffer memory;
    int layer = -1;
    std::vector<uint8_t> has;  // by slot; not the job's while one runs
  };
  struct Job {
    Buffer* buffer = nullptr;
    std::vector<int32_t> slots;  // ascending
  };

  SpillReader(SpillDevice* device, const SpillLayout& layout, const std::vector<uint64_t>* checksums)
      : device_(*device), layout_(layout), checksums_(*checksums) {}
  // Gives the thread what the buffer lacks of the slots; false when that is nothing.
  bool Start(Buffer* buffer, int layer, std::span<const int32_t> slots);
  void Loop();
  Status RunJob();
  // Slots [first, end), which follow one another.
  Status ReadSlots(int32_t first, int32_t end);
  bool Cancelled() const;

  SpillDevice& device_;
  const SpillLayout layout_;
  const std::vector<uint64_t>& checksums_;
  std::array<Buffer, 2> buffers_;
  size_t current_ = 0;  // the buffer of the latest Fetch
  double wait_seconds_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable wake_, done_;
  // Guarded by mutex_; the job and its buffer are the thread's while it is busy.
  bool busy_ = false;
  bool cancel_ = false;
  bool stop_ = false;
  Job job_;
  Status result_;
  uint64_t read_bytes_ = 0;

  std::thread thread_;
};

}  // namespace inkstone

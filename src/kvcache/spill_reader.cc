#include "kvcache/spill_reader.h"

#include <xxhash.h>

#include <algorithm>
#include <string>

#include "core/memory_probe.h"

namespace inkstone {
namespace {

constexpr uint64_t kReadBytes = uint64_t{4} << 20;  // at once; between two of these a read can be given up

}  // namespace

Result<std::unique_ptr<SpillReader>> SpillReader::Create(SpillDevice* device, const SpillLayout& layout,
                                                         const std::vector<uint64_t>* checksums) {
  auto reader = std::unique_ptr<SpillReader>(new SpillReader(device, layout, checksums));
  for (Buffer& buffer : reader->buffers_) {
    INK_ASSIGN_OR_RETURN(buffer.memory, DeviceBuffer::Map(layout.region_bytes()));
    buffer.has.resize(static_cast<size_t>(layout.slots));
  }
  reader->job_.slots.reserve(static_cast<size_t>(layout.slots));
  reader->thread_ = std::thread([raw = reader.get()] { raw->Loop(); });
  return reader;
}

SpillReader::~SpillReader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = cancel_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Status SpillReader::Fetch(int layer, std::span<const int32_t> slots) {
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  if (busy_ && job_.buffer->layer != layer) cancel_ = true;
  done_.wait(lock, [this] { return !busy_; });
  const size_t other = 1 - current_;
  if (buffers_[current_].layer != layer && buffers_[other].layer == layer) current_ = other;
  Status status;
  if (Start(&buffers_[current_], layer, slots)) {
    done_.wait(lock, [this] { return !busy_; });
    status = result_;
  }
  wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  INK_RETURN_IF_ERROR(status);
  if (const int next = (layer + 1) % layout_.layers; next != layer) Start(&buffers_[1 - current_], next, slots);
  return Status::Ok();
}

bool SpillReader::Start(Buffer* buffer, int layer, std::span<const int32_t> slots) {
  if (buffer->layer != layer) std::fill(buffer->has.begin(), buffer->has.end(), uint8_t{0});
  buffer->layer = layer;
  job_.buffer = buffer;
  job_.slots.clear();
  std::copy_if(slots.begin(), slots.end(), std::back_inserter(job_.slots),
               [buffer](int32_t slot) { return buffer->has[static_cast<size_t>(slot)] == 0; });
  if (job_.slots.empty()) return false;
  std::sort(job_.slots.begin(), job_.slots.end());
  job_.slots.erase(std::unique(job_.slots.begin(), job_.slots.end()), job_.slots.end());  // sequences share pages
  busy_ = true;
  cancel_ = false;
  wake_.notify_one();
  return true;
}

std::byte* SpillReader::Block(int layer, int32_t slot) const {
  const Buffer& buffer = buffers_[buffers_[0].layer == layer ? 0 : 1];
  return buffer.memory.data() + static_cast<size_t>(slot) * layout_.layer_bytes;
}

void SpillReader::Forget(int32_t slot) {
  std::unique_lock lock(mutex_);
  if (busy_ && std::binary_search(job_.slots.begin(), job_.slots.end(), slot)) {
    cancel_ = true;
    done_.wait(lock, [this] { return !busy_; });
  }
  for (Buffer& buffer : buffers_) buffer.has[static_cast<size_t>(slot)] = 0;
}

uint64_t SpillReader::read_bytes() const {
  const std::lock_guard lock(mutex_);
  return read_bytes_;
}

uint64_t SpillReader::BufferBytes() const {
  uint64_t bytes = 0;
  for (const Buffer& b : buffers_) bytes += ResidentBytes({b.memory.data(), b.memory.size()});
  return bytes;
}

void SpillReader::Loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || busy_; });
    if (stop_) return;
    lock.unlock();
    Status status = RunJob();
    lock.lock();
    result_ = std::move(status);
    busy_ = false;
    done_.notify_one();
  }
}

bool SpillReader::Cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancel_;
}

Status SpillReader::RunJob() {
  const std::vector<int32_t>& slots = job_.slots;
  for (size_t first = 0, end; first < slots.size(); first = end) {
    end = first + 1;
    while (end < slots.size() && slots[end] == slots[end - 1] + 1) ++end;
    INK_RETURN_IF_ERROR(ReadSlots(slots[first], slots[end - 1] + 1));
  }
  return Status::Ok();
}

Status SpillReader::ReadSlots(int32_t first, int32_t end) {
  Buffer& buffer = *job_.buffer;
  const uint64_t region = layout_.Offset(buffer.layer, 0);
  const uint64_t mask = device_.alignment() - 1;
  // Neighbours in the same blocks are read along; what they have in the buffer stays what it is.
  const uint64_t last = (static_cast<uint64_t>(end) * layout_.layer_bytes + mask) & ~mask;
  for (uint64_t at = static_cast<uint64_t>(first) * layout_.layer_bytes & ~mask; at < last; at += kReadBytes) {
    if (Cancelled()) return inkstone::Cancelled("given up");
    const uint64_t size = std::min(kReadBytes, last - at);
    INK_RETURN_IF_ERROR(device_.Read(region + at, {buffer.memory.data() + at, size}));
    const std::lock_guard lock(mutex_);
    read_bytes_ += size;
  }
  for (int32_t slot = first; slot < end; ++slot) {
    const std::byte* block = buffer.memory.data() + static_cast<size_t>(slot) * layout_.layer_bytes;
    if (XXH3_64bits(block, layout_.layer_bytes) != checksums_[layout_.Index(buffer.layer, slot)]) {
      return DataLoss("the spill file: what came back of layer " + std::to_string(buffer.layer) + ", page " +
                      std::to_string(slot) + " is not what was written");
    }
    buffer.has[static_cast<size_t>(slot)] = 1;
  }
  return Status::Ok();
}

}  // namespace inkstone

#include "kvcache/spill_space.h"

#include <xxhash.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace inkstone {

SpillSpace::SpillSpace(std::unique_ptr<SpillDevice> device, const SpillLayout& layout)
    : layout_(layout),
      device_(std::move(device)),
      checksums_(static_cast<size_t>(layout.slots) * static_cast<size_t>(layout.layers)),
      references_(layout.slots) {
  for (int64_t slot = layout.slots - 1; slot >= 0; --slot) free_.push_back(static_cast<int32_t>(slot));
}

Result<std::unique_ptr<SpillSpace>> SpillSpace::Create(std::unique_ptr<SpillDevice> device, const SpillLayout& layout) {
  auto space = std::unique_ptr<SpillSpace>(new SpillSpace(std::move(device), layout));
  INK_ASSIGN_OR_RETURN(space->reader_, SpillReader::Create(space->device_.get(), layout, &space->checksums_));
  return space;
}

Result<int32_t> SpillSpace::Write(std::span<const std::byte> page) {
  if (free_slots() == 0) return ResourceExhausted("no page can be spilled: " + trouble_);
  const int32_t slot = free_.back();
  reader_->Forget(slot);
  for (int layer = 0; layer < layout_.layers; ++layer) {
    const auto block = page.subspan(static_cast<size_t>(layer) * layout_.layer_bytes, layout_.layer_bytes);
    if (Status status = device_->Write(layout_.Offset(layer, slot), block); !status.ok()) {
      trouble_ = status.message();
      return status;
    }
    checksums_[layout_.Index(layer, slot)] = XXH3_64bits(block.data(), block.size());
  }
  free_.pop_back();
  references_.Take(slot);
  ++written_;
  return slot;
}

void SpillSpace::Release(int32_t slot) {
  if (!references_.Release(slot)) return;
  free_.insert(std::upper_bound(free_.begin(), free_.end(), slot, std::greater<>()), slot);
}

Status SpillSpace::Fetch(int layer, std::span<const int32_t> slots) {
  Status status = reader_->Fetch(layer, slots);
  if (!status.ok()) {
    failed_read_ = true;
    ++failed_reads_;
  }
  return status;
}

SpillStats SpillSpace::stats() const {
  return {layout_.slots,         layout_.slots - static_cast<int64_t>(free_.size()),
          references_.idle(),    written_,
          reader_->read_bytes(), reader_->wait_seconds(),
          failed_reads_,         trouble_};
}

}  // namespace inkstone

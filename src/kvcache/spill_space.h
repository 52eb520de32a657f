// Where pages of sequences, and of the prefix cache behind them, are while memory has no room for them: slots of a file
// with reference counts, and the way back. Engine thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "kvcache/cached_references.h"
#include "kvcache/page_pool.h"
#include "kvcache/spill_file.h"
#include "kvcache/spill_reader.h"

namespace inkstone {

struct SpillStats {
  int64_t slots = 0;
  int64_t pages = 0;       // in slots now
  int64_t idle_pages = 0;  // of them, those that only the prefix cache holds
  int64_t written = 0;
  uint64_t read_bytes = 0;
  double wait_seconds = 0;   // that steps waited for reads
  int64_t failed_reads = 0;  // steps that lacked a page
  std::string trouble;       // why nothing more is written, empty while all is well
};

class SpillSpace {
 public:
  static SpillLayout LayoutFor(const KvLayout& kv, int64_t slots) { return {kv.layers, slots, kv.layer_bytes()}; }
  // `device` has room for LayoutFor(..).file_bytes().
  static Result<std::unique_ptr<SpillSpace>> Create(std::unique_ptr<SpillDevice> device, const SpillLayout& layout);

  int64_t slots() const { return layout_.slots; }
  // Slots that pages may go to: none after a write has failed.
  int64_t free_slots() const { return trouble_.empty() ? static_cast<int64_t>(free_.size()) : 0; }
  const std::string& trouble() const { return trouble_; }

  // Slots that only the cache holds, which it gives up for others; likewise.
  int64_t idle_slots() const { return trouble_.empty() ? references_.idle() : 0; }

  // Copies a page, layer by layer, to a free slot, which gets one reference. After an error nothing has changed but
  // that nothing is written any more.
  Result<int32_t> Write(std::span<const std::byte> page);
  // As PagePool has them for pages in memory.
  void AddReference(int32_t slot) { references_.Add(slot); }
  void Release(int32_t slot);
  int references(int32_t slot) const { return references_.count(slot); }
  void SetCached(int32_t slot, bool cached) { references_.SetCached(slot, cached); }

  // As SpillReader has them.
  Status Fetch(int layer, std::span<const int32_t> slots);
  std::byte* Block(int layer, int32_t slot) const { return reader_->Block(layer, slot); }
  // Whether a Fetch has failed since this was asked last.
  bool TakeFailedRead() { return std::exchange(failed_read_, false); }

  SpillStats stats() const;
  // Resident bytes of the reader's buffers. Thread-safe.
  uint64_t BufferBytes() const { return reader_->BufferBytes(); }

 private:
  SpillSpace(std::unique_ptr<SpillDevice> device, const SpillLayout& layout);

  const SpillLayout layout_;
  std::unique_ptr<SpillDevice> device_;
  std::vector<uint64_t> checksums_;  // (layers, slots)
  std::vector<int32_t> free_;        // lowest last, so that they are used first and lie together
  CachedReferences references_;      // by slot
  bool failed_read_ = false;
  int64_t written_ = 0;
  int64_t failed_reads_ = 0;
  std::string trouble_;
  std::unique_ptr<SpillReader> reader_;  // last: its thread uses the others
};

}  // namespace inkstone

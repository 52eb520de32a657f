// The memory contract: every byte that a model will take, checked against what there is before anything is loaded.
// Pure arithmetic, no input or output.
#pragma once

#include <cstdint>
#include <string>

#include "core/dtype.h"
#include "core/status.h"
#include "kvcache/attention_window.h"
#include "kvcache/page_pool.h"

namespace inkstone {

constexpr int64_t kLongestContext = -1;

struct MemoryWishes {
  // Tokens of one sequence; 0: what fits, at most 8,192 and the model's own; kLongestContext: the same without the
  // 8,192.
  int64_t context = 0;
  int max_sequences = 1;        // that run at once; they share the KV cache
  uint64_t memory_limit = 0;    // bytes that the process may take; 0: what is available
  AttentionWindow window = {};  // bounds what of a sequence is in the cache
  uint64_t spill_bytes = 0;     // of disk, for what of the longest sequence has no room in memory
  int64_t prompt_chunk = 512;   // tokens of one step, which must be in memory beside what is on disk
};

struct MemoryFacts {
  // Mapped weight files. They are page cache that the system may drop, but a step reads all of them, so they count in
  // full; in return `available` includes the page cache, pages of these very files among it.
  uint64_t weight_bytes = 0;
  int64_t parameters = 0;       // for advice about smaller weight types
  KvLayout kv;                  // of the types asked for
  int64_t trained_context = 0;  // positions
  uint64_t activation_bytes = 0;
  uint64_t runtime_bytes = 0;     // program, tokenizer, logits, sampling
  uint64_t connection_bytes = 0;  // what the server holds for its clients at most; 0: no server
  uint64_t store_bytes = 0;       // copies of pages that wait for the disk at most; 0: no page store
  uint64_t available = 0;         // that can be taken now without swapping, within every limit of the system
};

struct MemoryPlan {
  uint64_t weight_bytes = 0;
  uint64_t kv_bytes = 0;
  uint64_t activation_bytes = 0;
  uint64_t runtime_bytes = 0;
  uint64_t connection_bytes = 0;
  uint64_t store_bytes = 0;
  uint64_t available = 0;  // the wish's limit included
  int64_t context = 0;     // tokens of one sequence
  // In memory, of all running sequences together; with spill_tokens at least those of one context.
  int64_t kv_tokens = 0;
  KvTypes kv_types = {};
  std::string kv_note = {};         // what people should know of them, as a sentence for the report; empty: nothing
  int64_t spill_tokens = 0;         // on disk
  uint64_t spill_bytes = 0;         // of disk space
  uint64_t spill_buffer_bytes = 0;  // of memory, through which they come back

  uint64_t total() const { return weight_bytes + kv_bytes + spill_buffer_bytes + fixed_bytes(); }
  // Beside weights, KV cache and what spilling needs.
  uint64_t fixed_bytes() const { return activation_bytes + runtime_bytes + connection_bytes + store_bytes; }
  // An aligned table, one line for each part; ends with a newline.
  std::string Report() const;
};

// Errors: kInvalidArgument when the wished context exceeds the model's; kResourceExhausted when it does not fit, with
// what is needed, what is available and what would fit.
Result<MemoryPlan> PlanMemory(const MemoryFacts& facts, const MemoryWishes& wishes);

// Bytes of program and tables beside weights, KV cache and activations: an estimate. vocab is the model's.
uint64_t EstimateRuntimeBytes(int64_t vocab, int max_sequences);

}  // namespace inkstone

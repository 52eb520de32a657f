// The engine: one thread that owns model, cache and scheduler. Others talk to it through its queue.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/memory_probe.h"
#include "core/status.h"
#include "engine/cache_domains.h"
#include "engine/memory_governor.h"
#include "engine/queue_places.h"
#include "engine/request.h"
#include "kvcache/attention_window.h"
#include "kvcache/page_pool.h"
#include "kvcache/page_store.h"
#include "kvcache/spill_space.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {

// Which keys and values of earlier requests are used again, as long as nothing else needs their room.
enum class PrefixReuse : uint8_t {
  kOff,
  kPrompts,  // of prompts: an answer never depends on what was asked before
  kAll,      // of answers too, when they come back in a prompt. They come from decoding, which differs from computing
             // a prompt in the last bits.
};

struct EngineOptions {
  int64_t context = 8192;    // tokens that one sequence may hold, prompt and answer
  int64_t kv_tokens = 8192;  // tokens that all running sequences may hold together in memory
  int64_t spill_tokens = 0;  // and on disk
  KvTypes kv_types = {};
  AttentionWindow window = {};  // what of a sequence stays in the cache
  int max_sequences = 8;        // running at once
  int max_queue = 64;           // waiting; one more is refused
  int64_t prompt_chunk = 512;   // prompt tokens in one step
  double prefill_share = 0.3;   // of a step that decodes, for prompts (StepBudget)
  PrefixReuse prefix = PrefixReuse::kAll;
  PrefixShare share = PrefixShare::kSystem;
  bool allow_priority = false;  // a request's priority counts among all; else among its client's own

  // Requests of one origin that may run or wait at once.
  int64_t MostOfOneOrigin() const { return QueuePlaces::MostOfOne(max_sequences, max_queue); }
};

// A moment's state, for /metrics and the page.
struct EngineStats {
  int running = 0;
  int waiting = 0;
  int64_t kv_pages_total = 0;
  int64_t kv_pages_used = 0;           // by running sequences
  int64_t kv_pages_cached = 0;         // in the prefix cache, those in use too
  int64_t kv_pages_idle = 0;           // in the prefix cache alone
  int64_t kv_pages_free_resident = 0;  // free, their memory not given back
  int64_t kv_page_bytes = 0;
  int64_t kv_page_limit = 0;     // that may be in use now
  int64_t given_back_pages = 0;  // total: free pages whose memory went back to the system
  MemoryState memory;
  int64_t requests = 0;  // totals since start
  int64_t cancelled = 0;
  int64_t rejected = 0;
  int64_t failed = 0;
  int64_t preempted = 0;
  int64_t prompt_tokens = 0;  // those from the cache included
  int64_t cached_tokens = 0;  // of them, from the prefix cache, in whole pages
  int64_t evicted_pages = 0;  // of the prefix cache
  int64_t loaded_pages = 0;   // that came back from disk
  PageStoreStats store;       // zeros without one
  SpillStats spill;           // likewise
  int64_t generated_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

// How an engine learns of memory, and who learns of what it does about it. On the engine thread; must not block.
struct MemoryHooks {
  std::function<MemorySample()> sense = {};  // ten times a second; none: the engine does not look
  std::function<void(MemoryLevel before, const MemoryState& now)> on_change = {};  // of the level
  std::function<MemoryClock::time_point()> now = MemoryClock::now;
};

// What the engine keeps to while it runs.
struct MemoryContract {
  uint64_t budget = 0;        // bytes that the process may take; 0: no limit of its own
  uint64_t weight_bytes = 0;  // mapped files
  MemoryHooks hooks = {};
};

// Files that pages go to: of the prefix cache, and of running sequences.
enum class PageFiles { kStore, kSpill };
// Learns that nothing is written to such files, and why, or, with an empty `trouble`, that it is again. On the engine
// thread; must not block.
using DiskHook = std::function<void(PageFiles files, const std::string& trouble)>;

// What an engine may be given beside its model.
struct EngineExtras {
  std::unique_ptr<PageStore> store = nullptr;    // null: nothing outlives the engine
  std::unique_ptr<SpillDevice> spill = nullptr;  // has room for spill_tokens; null where these are 0
  MemoryContract memory = {};
  DiskHook on_disk = {};
};

using RequestId = uint64_t;

class Engine {
 public:
  // Takes the KV cache's memory and starts the thread. Backend and tokenizer are borrowed.
  static Result<std::unique_ptr<Engine>> Create(std::unique_ptr<Model> model, Backend& backend,
                                                const Tokenizer& tokenizer, const EngineOptions& options,
                                                EngineExtras extras = {});
  // Cancels what runs and joins the thread.
  virtual ~Engine() = default;

  // Thread-safe. Errors: kInvalidArgument (parameters, empty prompt, token ids; a prompt that does not fit the context
  // says "context" with both numbers), kResourceExhausted (queue is full, or this origin's part of it), kUnavailable
  // (draining), kOverloaded (memory is short).
  virtual Result<RequestId> Submit(GenerationRequest request, EventSink sink) = 0;
  // Thread-safe; unknown or finished ids are ignored. The sink gets a last event with kCancelled.
  virtual void Cancel(RequestId id) = 0;
  // Refuses new requests; those that run or wait go on. Idle() tells when they're done.
  virtual void Drain() = 0;
  virtual bool Idle() const = 0;
  virtual EngineStats stats() const = 0;
  virtual const EngineOptions& options() const = 0;
  virtual const ModelConfig& config() const = 0;
  // Thread-safe: resident bytes of activations, and of the buffers of spilled pages.
  virtual uint64_t ActivationBytes() const = 0;
  virtual uint64_t SpillBufferBytes() const = 0;
};

}  // namespace inkstone

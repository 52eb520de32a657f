// The engine: one thread that owns model, cache and scheduler. Others talk to it through its queue.
#pragma once

#include <cstdint>
#include <memory>

#include "core/status.h"
#include "engine/request.h"
#include "kvcache/page_pool.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {

struct EngineOptions {
  int64_t context = 8192;    // tokens that one sequence may hold, prompt and answer
  int64_t kv_tokens = 8192;  // tokens that all running sequences may hold together
  DType kv_type = DType::kF16;
  int max_sequences = 8;       // running at once
  int max_queue = 64;          // waiting; one more is refused
  int64_t prompt_chunk = 512;  // prompt tokens in one step
};

// A moment's state, for /metrics and the page.
struct EngineStats {
  int running = 0;
  int waiting = 0;
  int64_t kv_pages_total = 0;
  int64_t kv_pages_used = 0;
  int64_t requests = 0;  // totals since start
  int64_t cancelled = 0;
  int64_t rejected = 0;
  int64_t failed = 0;
  int64_t preempted = 0;
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

using RequestId = uint64_t;

class Engine {
 public:
  // Takes the KV cache's memory and starts the thread. Backend and tokenizer are borrowed.
  static Result<std::unique_ptr<Engine>> Create(std::unique_ptr<Model> model, Backend& backend,
                                                const Tokenizer& tokenizer, const EngineOptions& options);
  // Cancels what runs and joins the thread.
  virtual ~Engine() = default;

  // Thread-safe. Errors: kInvalidArgument (parameters, empty prompt, token ids; a prompt that does not fit the context
  // says "context" with both numbers), kResourceExhausted (queue is full), kUnavailable (draining).
  virtual Result<RequestId> Submit(GenerationRequest request, EventSink sink) = 0;
  // Thread-safe; unknown or finished ids are ignored. The sink gets a last event with kCancelled.
  virtual void Cancel(RequestId id) = 0;
  // Refuses new requests; those that run or wait go on. Idle() tells when they're done.
  virtual void Drain() = 0;
  virtual bool Idle() const = 0;
  virtual EngineStats stats() const = 0;
  virtual const EngineOptions& options() const = 0;
  virtual const ModelConfig& config() const = 0;
};

}  // namespace inkstone

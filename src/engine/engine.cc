#include "engine/engine.h"

#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/disk_watch.h"
#include "engine/memory_watch.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/stop_matcher.h"

namespace inkstone {
namespace {

constexpr int kMaxTopLogprobs = 20;

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

Status AtLeast(const char* what, int64_t found, int64_t least) {
  if (found >= least) return Status::Ok();
  return InvalidArgument(std::string("engine: ") + what + " must be at least " + std::to_string(least) + ", found " +
                         std::to_string(found));
}

Status AtMost(const char* what, int64_t found, int64_t most) {
  if (found <= most) return Status::Ok();
  return InvalidArgument(std::string("engine: ") + what + " must be at most " + std::to_string(most) + ", found " +
                         std::to_string(found));
}

// What a sequence must have in memory beside what it has spilled: the rows of a step, and the pages in which they begin
// and end.
int64_t LeastKvTokens(const EngineOptions& o, const ModelLimits& limits) {
  return o.prompt_chunk + 2 * int64_t{limits.page_tokens};
}

Status CheckOptions(const EngineOptions& o, const Model& model, const Tokenizer& tokenizer) {
  const ModelLimits& limits = model.limits();
  INK_RETURN_IF_ERROR(AtLeast("context", o.context, 2));
  INK_RETURN_IF_ERROR(AtMost("context", o.context, limits.max_context));
  INK_RETURN_IF_ERROR(
      AtLeast("kv_tokens and spill_tokens", o.kv_tokens + o.spill_tokens, o.window.MostTokens(o.context)));
  if (o.spill_tokens > 0) INK_RETURN_IF_ERROR(AtLeast("kv_tokens", o.kv_tokens, LeastKvTokens(o, limits)));
  INK_RETURN_IF_ERROR(AtLeast("max_sequences", o.max_sequences, 1));
  INK_RETURN_IF_ERROR(AtMost("max_sequences", o.max_sequences, limits.max_sequences));
  INK_RETURN_IF_ERROR(AtMost("max_sequences", o.max_sequences, limits.max_logit_rows));
  INK_RETURN_IF_ERROR(AtLeast("max_queue", o.max_queue, 0));
  INK_RETURN_IF_ERROR(AtLeast("prompt_chunk", o.prompt_chunk, 1));
  INK_RETURN_IF_ERROR(AtMost("prompt_chunk", o.prompt_chunk, limits.max_step_rows));
  if (!(o.prefill_share >= 0 && o.prefill_share <= 0.9)) {
    return InvalidArgument("prefill_share must be 0 to 0.9, found " + std::to_string(o.prefill_share));
  }
  return AtMost("the tokenizer's vocabulary", tokenizer.vocab_size(), model.config().vocab);
}

class EngineImpl final : public Engine {
 public:
  EngineImpl(std::unique_ptr<Model> model, PagePool pool, PrefillJob job, Backend& backend, const Tokenizer& tokenizer,
             const EngineOptions& options, EngineExtras extras, std::unique_ptr<SpillSpace> spill)
      : model_(std::move(model)),
        backend_(backend),
        activations_{model_->workspace(), backend.memory(), job.buffer()},
        pool_(std::move(pool)),
        spill_(std::move(spill)),
        store_(std::move(extras.store)),
        tokenizer_(tokenizer),
        options_(options),
        places_(options.max_sequences, options.max_queue),
        scheduler_({model_.get(), &pool_, tokenizer_.vocab_size(), store_.get()}, std::move(job), options_,
                   [this](const Sequence& s) { Leave(s); }),
        watch_(std::move(extras.memory), &pool_, &scheduler_),
        disks_(std::move(extras.on_disk)) {
    pool_.set_spill(spill_.get());
    stats_ = scheduler_.stats();
    thread_ = std::thread([this] { Loop(); });
  }
  ~EngineImpl() override;

  Result<RequestId> Submit(GenerationRequest request, EventSink sink) override;
  void Cancel(RequestId id) override;
  void Drain() override;
  bool Idle() const override;
  EngineStats stats() const override;
  const EngineOptions& options() const override { return options_; }
  const ModelConfig& config() const override { return model_->config(); }
  uint64_t ActivationBytes() const override;
  uint64_t SpillBufferBytes() const override { return spill_ == nullptr ? 0 : spill_->BufferBytes(); }

 private:
  Status Check(const GenerationRequest& request) const;
  void Loop();
  // A request is about to get its last event: its place may be taken.
  void Leave(const Sequence& sequence);
  // Why there is no place for one more of this origin.
  Status NoPlace(const std::string& origin) const;

  const std::unique_ptr<Model> model_;
  Backend& backend_;
  const std::array<std::span<const std::byte>, 3> activations_;
  PagePool pool_;  // engine thread only
  const std::unique_ptr<SpillSpace> spill_;
  const std::unique_ptr<PageStore> store_;
  const Tokenizer& tokenizer_;
  const EngineOptions options_;
  QueuePlaces places_;   // of those accepted whose last event is not yet due; guarded by mutex_
  Scheduler scheduler_;  // engine thread only
  MemoryWatch watch_;    // engine thread only
  DiskWatch disks_;      // engine thread only

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_:
  std::deque<std::unique_ptr<Sequence>> incoming_;
  std::vector<RequestId> cancels_;
  RequestId next_id_ = 1;
  int64_t undelivered_ = 0;  // accepted, last event not known to have gone out
  int64_t requests_ = 0;
  int64_t rejected_ = 0;
  bool draining_ = false;
  bool stop_ = false;
  EngineStats stats_;  // the scheduler's, after the latest step

  std::thread thread_;  // last: runs while everything above exists
};

EngineImpl::~EngineImpl() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

Status EngineImpl::Check(const GenerationRequest& request) const {
  const int64_t size = static_cast<int64_t>(request.prompt.size());
  if (size == 0) return InvalidArgument("the prompt is empty: expected at least one token");
  if (size >= options_.context) {
    return InvalidArgument("the prompt has " + std::to_string(size) + " tokens, the context holds " +
                           std::to_string(options_.context) + " for prompt and answer together");
  }
  for (const int32_t token : request.prompt) {
    if (token < 0 || token >= config().vocab) {
      return InvalidArgument("prompt: a token id must be 0 to " + std::to_string(config().vocab - 1) + ", found " +
                             std::to_string(token));
    }
  }
  if (request.max_tokens < -1) {
    return InvalidArgument("max_tokens must be -1 (until the context is full) or more, found " +
                           std::to_string(request.max_tokens));
  }
  if (request.top_logprobs < -1 || request.top_logprobs > kMaxTopLogprobs) {
    return InvalidArgument("top_logprobs must be -1 (none) to " + std::to_string(kMaxTopLogprobs) + ", found " +
                           std::to_string(request.top_logprobs));
  }
  if (request.min_tokens < 0 || (request.max_tokens >= 0 && request.min_tokens > request.max_tokens)) {
    return InvalidArgument("min_tokens must be 0 or more and at most max_tokens, found " +
                           std::to_string(request.min_tokens));
  }
  if (request.priority < -100 || request.priority > 100) {
    return InvalidArgument("priority must be -100 to 100, found " + std::to_string(request.priority));
  }
  if (request.deadline && request.deadline->count() <= 0) {
    return InvalidArgument("the deadline must be at least 1 ms, found " + std::to_string(request.deadline->count()));
  }
  INK_RETURN_IF_ERROR(request.stop.Validate());
  return request.sampling.Validate(tokenizer_.vocab_size());
}

Result<RequestId> EngineImpl::Submit(GenerationRequest request, EventSink sink) {
  INK_RETURN_IF_ERROR(Check(request));
  const uint64_t seed = request.sampling.seed ? *request.sampling.seed : RandomSeed();
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (draining_) {
      ++rejected_;
      return Unavailable("the engine is shutting down and takes no new requests");
    }
    if (!places_.full() && stats_.memory.level == MemoryLevel::kRefuse) {
      ++rejected_;
      return Overloaded("memory is short, so that no new requests are taken for the moment; try again later");
    }
    if (!places_.Enter(request.origin)) {
      ++rejected_;
      return NoPlace(request.origin);
    }
    id = next_id_++;
    incoming_.push_back(std::make_unique<Sequence>(id, std::move(request), std::move(sink), seed, tokenizer_, &pool_));
    ++requests_;
    ++undelivered_;
  }
  wake_.notify_one();
  return id;
}

void EngineImpl::Cancel(RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    cancels_.push_back(id);
  }
  wake_.notify_one();
}

void EngineImpl::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

bool EngineImpl::Idle() const {
  const std::lock_guard lock(mutex_);
  return undelivered_ == 0;
}

EngineStats EngineImpl::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting += static_cast<int>(incoming_.size());
  stats.requests = requests_;
  stats.rejected = rejected_;
  return stats;
}

uint64_t EngineImpl::ActivationBytes() const {
  uint64_t bytes = 0;
  for (const auto memory : activations_) bytes += ResidentBytes(memory);
  return bytes;
}

Status EngineImpl::NoPlace(const std::string& origin) const {
  if (places_.full()) {
    return ResourceExhausted("the queue is full: " + std::to_string(places_.taken()) +
                             " requests run or wait; try again later");
  }
  return ResourceExhausted(
      "the rest of the queue is kept for other clients: " + std::to_string(places_.TakenBy(origin)) +
      " requests of this one run or wait; try again later");
}

void EngineImpl::Leave(const Sequence& sequence) {
  const std::lock_guard lock(mutex_);
  places_.Leave(sequence.origin);
}

void EngineImpl::Loop() {
  const ThreadBinding binding = backend_.BindCaller();
  std::deque<std::unique_ptr<Sequence>> incoming;
  std::vector<RequestId> cancels;
  bool stop = false;
  watch_.Look();
  disks_.Look(scheduler_.stats());
  std::unique_lock lock(mutex_);
  stats_.memory = watch_.state();
  while (!stop) {
    const auto wanted = [this] { return stop_ || !incoming_.empty() || !cancels_.empty() || !scheduler_.idle(); };
    if (watch_.restless()) {
      wake_.wait_for(lock, MemoryWatch::kInterval, wanted);
    } else {
      wake_.wait(lock, wanted);
    }
    incoming.swap(incoming_);
    cancels.swap(cancels_);
    stop = stop_;
    lock.unlock();

    for (auto& sequence : incoming) scheduler_.Add(std::move(sequence));
    for (const RequestId id : cancels) scheduler_.Cancel(id);
    incoming.clear();
    cancels.clear();
    if (stop) {
      scheduler_.CancelAll();
    } else {
      watch_.Look();
      scheduler_.Step();
    }

    EngineStats stats = scheduler_.stats();
    stats.memory = watch_.state();
    disks_.Look(stats);
    lock.lock();
    stats_ = std::move(stats);
    undelivered_ = scheduler_.unfinished() + static_cast<int64_t>(incoming_.size());
  }
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::Create(std::unique_ptr<Model> model, Backend& backend,
                                               const Tokenizer& tokenizer, const EngineOptions& options,
                                               EngineExtras extras) {
  INK_RETURN_IF_ERROR(CheckOptions(options, *model, tokenizer));
  INK_ASSIGN_OR_RETURN(KvLayout layout, model->config().KvLayoutFor(options.kv_types));
  layout.page_tokens = model->limits().page_tokens;
  INK_ASSIGN_OR_RETURN(PagePool pool, PagePool::Create(backend, layout, layout.PagesFor(options.kv_tokens)));
  INK_ASSIGN_OR_RETURN(PrefillJob job, PrefillJob::Create(*model, backend, options.prompt_chunk));
  std::unique_ptr<SpillSpace> spill;
  if (options.spill_tokens > 0) {
    const SpillLayout slots = SpillSpace::LayoutFor(layout, layout.PagesFor(options.spill_tokens));
    INK_ASSIGN_OR_RETURN(spill, SpillSpace::Create(std::move(extras.spill), slots));
  }
  return std::unique_ptr<Engine>(std::make_unique<EngineImpl>(std::move(model), std::move(pool), std::move(job),
                                                              backend, tokenizer, options, std::move(extras),
                                                              std::move(spill)));
}

}  // namespace inkstone

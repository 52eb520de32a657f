// Decides what each step computes, runs it and hands out the results. Engine thread only.
//
// A step decodes one token of every sequence that waits for one, then takes the current chunk of prompts through as
// many layers as StepBudget allows. A request is admitted when its prompt finds pages, idle ones of the prefix cache
// included, with one to spare; who goes first is a matter of what its origin and client have had (FairShare), of
// priority, which comes first where the operator says so, and of when the first token would be due. One whose beginning
// is being computed for another waits for it, and shares the pages, where both may (CacheDomains). An origin of which
// nothing runs takes a place from the one that runs most. When pages run out, a sequence spills its own where that is
// possible (PageRoom); else the last in order of who runs most gives up its pages and waits again; later its tokens are
// computed again by the kernels that computed them the first time, so that its text does not change. The first in order
// is never preempted, so there is progress.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/cache_domains.h"
#include "engine/engine.h"
#include "engine/fair_share.h"
#include "engine/memory_governor.h"
#include "engine/page_room.h"
#include "engine/prefill_job.h"
#include "engine/sampler.h"
#include "engine/sequence.h"
#include "engine/step_budget.h"
#include "kvcache/page_pool.h"
#include "kvcache/prefix_cache.h"
#include "model/model.h"

namespace inkstone {

class Scheduler {
 public:
  // Pointers are borrowed. Tokens at or above `vocab` (rows of the output matrix that no token belongs to) are never
  // drawn.
  struct Parts {
    Model* model = nullptr;
    PagePool* pool = nullptr;
    int32_t vocab = 0;
    PageStore* store = nullptr;  // null: nothing is kept on disk
    std::function<Clock::time_point()> now = Clock::now;
  };
  // before_last_event is called once for each request, just before its last event goes out.
  Scheduler(Parts parts, PrefillJob job, const EngineOptions& options,
            std::function<void(const Sequence&)> before_last_event);

  void Add(std::unique_ptr<Sequence> sequence);
  // Ends the request with kCancelled and frees its pages; unknown ids are ignored.
  void Cancel(RequestId id);
  void CancelAll();
  // Ends what is past its deadline, admits what fits and computes one step.
  void Step();

  // Sets the limit of pages, and does what the level asks for to come down to it.
  void ReactToMemory(const MemoryState& state);

  bool idle() const { return waiting_.empty() && running_.empty(); }
  int64_t unfinished() const { return static_cast<int64_t>(waiting_.size() + running_.size()); }
  // Those that have pages, in order of rank and age.
  const std::vector<std::unique_ptr<Sequence>>& running() const { return running_; }
  // Everything but what only the queue knows: requests and rejected are 0.
  EngineStats stats() const;

 private:
  using SequencePtr = std::unique_ptr<Sequence>;
  // What one sequence adds to a step.
  using Part = PrefillJob::Part;

  void EndExpired();
  void Admit();
  // The one to admit next; end() when none may be.
  std::deque<SequencePtr>::iterator Next();
  // Its priority where such counts among all clients, else 0.
  int Rank(const Sequence& s) const { return options_.allow_priority ? s.priority : 0; }
  // Of all that may use each other's priority: the highest that waits.
  using Scope = std::pair<std::string, std::string>;
  Scope ScopeOf(const Sequence& s) const;
  std::map<Scope, int> HighestWaiting() const;
  int64_t EffectivePriority(const Sequence& s, int highest) const;
  int64_t RunningOf(const std::string& origin) const;
  // Whose pages or place another that runs may get; null when nothing runs. The first in order only when it is alone.
  Sequence* LastInOrder() const;
  // Who is to give way to one that waits; null: nobody.
  Sequence* GivesWayTo(const Sequence& wanted) const;
  // When about the first token would have come, had the request been alone. By this order nobody waits long for the
  // others of its client: neither a short prompt for a long one, nor a long one for ever more short ones.
  Clock::time_point DueAlone(const Sequence& s) const;
  // Whether a sequence that runs is about to compute much of what this one begins with.
  bool ComesAfterAnother(const Sequence& s) const;
  // A client that has computed a shared text for itself before it was one stays with its own pages.
  void ChooseDomain(Sequence* s) const;
  // Reads what the store has of the sequence's beginning; false when there is more than one step has time for.
  bool Load(const Sequence& s);
  bool LoadingPays();
  // Pages for all tokens of a sequence, from the prefix cache where it has them; false changes nothing.
  bool TakePages(Sequence* s);
  PrefixQuery QueryOf(const Sequence& s) const;
  bool Reserve(Sequence* s);
  void ReservePages();
  // It gives up its pages; the prefix cache has them, while it can.
  void Preempt(Sequence* s);
  // Back to the queue, without pages.
  void WaitAgain(const Sequence* sequence);
  void SpillPages();
  bool MayAdmit() const;
  void AllowAlone(const Sequence& s);

  StepLoad CurrentLoad() const;
  void Decode();
  void PlanDecode();
  Status ForwardDecode();
  void Prefill();
  std::vector<Sequence*> PromptsInOrder() const;
  void BeginPrefill();
  void FinishPrefill();
  // After a step that went wrong: ends its parts. Where only pages on disk could not be read, those that have such
  // begin again, or end when they did so before.
  void Fail(const std::vector<Part>& parts, const Status& status);
  void Fail(const Sequence* sequence, Status status);

  // Books parts that were computed; `logits` has rows (model's vocab) of those that wanted them.
  void Advance(const std::vector<Part>& parts, std::span<float> logits);
  void Advance(const Part& part, std::span<float> logits);
  void Charge(const std::vector<Part>& parts, double seconds);
  // Keeps the computed entries in the prefix cache; `partial`: of a page that is not full too.
  void Keep(Sequence* s, bool partial);
  // Draws a token; sets event->finish when it is the last.
  Status Draw(Sequence* sequence, std::span<float> logits, GenerationEvent* event);
  void Finish(const Sequence* sequence, FinishReason reason, GenerationEvent event);
  SequencePtr Take(const Sequence* sequence);
  // What clients are told of counts of tokens: the part of a page would tell where texts part.
  int64_t WholePages(int64_t tokens) const { return tokens / pool_.layout().page_tokens * pool_.layout().page_tokens; }

  Model& model_;
  PagePool& pool_;
  const int32_t vocab_;
  const std::function<Clock::time_point()> now_;
  const EngineOptions options_;
  const std::function<void(const Sequence&)> before_last_event_;

  MemoryLevel memory_level_ = MemoryLevel::kNone;
  PageStore* const store_;
  PrefixCache cache_;
  PageRoom room_;
  double load_seconds_ = 0;           // to read a page, a moving average; 0: none yet
  std::deque<SequencePtr> waiting_;   // by id
  std::vector<SequencePtr> running_;  // by rank, then id
  FairShare share_;
  CacheDomains domains_;
  int64_t computed_tokens_ = 0;  // of prompts
  StepBudget budget_;
  PrefillJob job_;

  std::vector<Part> decode_parts_;   // of the current step
  std::vector<SequenceStep> steps_;  // decode_parts_, as the model wants them
  std::vector<float> logits_;        // (max_sequences, model's vocab)
  SamplerWorkspace workspace_;
  EngineStats stats_;
};

}  // namespace inkstone

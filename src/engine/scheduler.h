// Decides what each step computes, runs it and hands out the results. Engine thread only.
//
// A step takes one row of every sequence that decodes, and fills what is left of `prompt_chunk` rows with prompts,
// oldest first. A request is admitted when the free pages hold its prompt and one more. When pages run out, the
// youngest sequence gives up its pages and waits at the front of the queue; later its prompt is computed again by the
// prompt kernels and its answer by the decode kernels, as they were the first time, so that its text does not change.
// The oldest sequence is never preempted while others run, so there is always progress.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/sampler.h"
#include "engine/sequence.h"
#include "kvcache/page_pool.h"
#include "model/model.h"

namespace inkstone {

class Scheduler {
 public:
  // All borrowed. Tokens at or above `vocab` (rows of the output matrix that no token belongs to) are never drawn.
  struct Parts {
    Model* model = nullptr;
    PagePool* pool = nullptr;
    const Tokenizer* tokenizer = nullptr;
    int32_t vocab = 0;
  };
  // before_last_event is called once for each request, just before its last event goes out.
  Scheduler(const Parts& parts, const EngineOptions& options, std::function<void()> before_last_event);

  void Add(std::unique_ptr<Sequence> sequence);
  // Ends the request with kCancelled and frees its pages; unknown ids are ignored.
  void Cancel(RequestId id);
  void CancelAll();
  // Admits what fits and computes one step.
  void Step();

  bool idle() const { return waiting_.empty() && running_.empty(); }
  int64_t unfinished() const { return static_cast<int64_t>(waiting_.size() + running_.size()); }
  // Everything but what only the queue knows: requests and rejected are 0.
  EngineStats stats() const;

 private:
  using SequencePtr = std::unique_ptr<Sequence>;
  // What one sequence adds to the step.
  struct Part {
    Sequence* sequence;
    int64_t rows;
    Phase phase;
    bool wants_logits;
  };

  void Admit();
  void ReservePages();
  void Preempt();
  void PlanStep();
  Status Forward();
  // Books a part that was computed; `logits` (model's vocab) is empty unless the part wanted them.
  void Advance(const Part& part, std::span<float> logits);
  // Draws a token; sets event->finish when it is the last.
  Status Draw(Sequence* sequence, std::span<float> logits, GenerationEvent* event);
  bool IsStopToken(int32_t token) const;
  void Finish(Sequence* sequence, FinishReason reason, GenerationEvent event);
  SequencePtr Take(const Sequence* sequence);

  Model& model_;
  PagePool& pool_;
  const Tokenizer& tokenizer_;
  const int32_t vocab_;
  const EngineOptions options_;
  const std::function<void()> before_last_event_;

  std::deque<SequencePtr> waiting_;   // by id
  std::vector<SequencePtr> running_;  // by id

  std::vector<Part> parts_;          // of the current step: prompt rows first
  std::vector<Part> decode_parts_;   // while planning
  std::vector<SequenceStep> steps_;  // parts_, as the model wants them
  std::vector<float> logits_;        // (max_sequences, model's vocab)
  SamplerWorkspace workspace_;
  EngineStats stats_;
};

}  // namespace inkstone

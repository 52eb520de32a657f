#include "engine/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

namespace inkstone {
namespace {

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

constexpr auto kOlder = [](const auto& a, const auto& b) { return a->id < b->id; };

}  // namespace

Scheduler::Scheduler(const Parts& parts, const EngineOptions& options, std::function<void()> before_last_event)
    : model_(*parts.model),
      pool_(*parts.pool),
      tokenizer_(*parts.tokenizer),
      vocab_(parts.vocab),
      options_(options),
      before_last_event_(std::move(before_last_event)),
      logits_(static_cast<size_t>(options.max_sequences) * static_cast<size_t>(model_.config().vocab)),
      workspace_(parts.vocab) {
  const size_t sequences = static_cast<size_t>(options.max_sequences);
  running_.reserve(sequences);
  parts_.reserve(sequences);
  decode_parts_.reserve(sequences);
  steps_.reserve(sequences);
}

void Scheduler::Add(SequencePtr sequence) { waiting_.push_back(std::move(sequence)); }

void Scheduler::Cancel(RequestId id) {
  for (const SequencePtr& s : running_) {
    if (s->id == id) return Finish(s.get(), FinishReason::kCancelled, {});
  }
  for (const SequencePtr& s : waiting_) {
    if (s->id == id) return Finish(s.get(), FinishReason::kCancelled, {});
  }
}

void Scheduler::CancelAll() {
  while (!running_.empty()) Finish(running_.back().get(), FinishReason::kCancelled, {});
  while (!waiting_.empty()) Finish(waiting_.back().get(), FinishReason::kCancelled, {});
}

void Scheduler::Step() {
  Admit();
  ReservePages();
  PlanStep();
  if (parts_.empty()) return;
  const Status status = Forward();
  std::span<float> logits(logits_);
  const size_t vocab = static_cast<size_t>(model_.config().vocab);
  for (const Part& part : parts_) {
    if (!status.ok()) {
      GenerationEvent event;
      event.status = status;
      Finish(part.sequence, FinishReason::kError, std::move(event));
    } else if (part.wants_logits) {
      Advance(part, logits.first(vocab));
      logits = logits.subspan(vocab);
    } else {
      Advance(part, {});
    }
  }
}

void Scheduler::Admit() {
  while (!waiting_.empty() && static_cast<int>(running_.size()) < options_.max_sequences) {
    Sequence& next = *waiting_.front();
    const int64_t spare = running_.empty() ? 0 : 1;
    if (pool_.layout().PagesFor(next.size()) + spare > pool_.free_pages()) return;
    if (!next.pages.Reserve(next.size()).ok()) return;
    if (!std::exchange(next.started, true)) next.admitted = Clock::now();
    const auto place = std::upper_bound(running_.begin(), running_.end(), waiting_.front(), kOlder);
    running_.insert(place, std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

// Room for every token that is known now, the newest included.
void Scheduler::ReservePages() {
  for (size_t i = 0; i < running_.size(); ++i) {
    while (i < running_.size() && !running_[i]->pages.Reserve(running_[i]->size()).ok()) Preempt();
  }
}

void Scheduler::Preempt() {
  SequencePtr youngest = std::move(running_.back());
  running_.pop_back();
  youngest->pages.Clear();
  youngest->computed = 0;
  ++stats_.preempted;
  const auto place = std::upper_bound(waiting_.begin(), waiting_.end(), youngest, kOlder);
  waiting_.insert(place, std::move(youngest));
}

void Scheduler::PlanStep() {
  parts_.clear();
  decode_parts_.clear();
  int64_t rows = options_.prompt_chunk;
  for (const SequencePtr& s : running_) {
    if (!s->decoding() || rows == 0) continue;
    decode_parts_.push_back({s.get(), 1, Phase::kDecode, true});
    --rows;
  }
  for (const SequencePtr& s : running_) {
    if (s->decoding() || rows == 0) continue;
    const bool prompt = s->computed < s->prompt_tokens;
    const int64_t count = std::min(rows, (prompt ? s->prompt_tokens : s->size()) - s->computed);
    const bool last = s->computed + count == s->size();
    (prompt ? parts_ : decode_parts_).push_back({s.get(), count, prompt ? Phase::kPrompt : Phase::kDecode, last});
    rows -= count;
  }
  parts_.insert(parts_.end(), decode_parts_.begin(), decode_parts_.end());
}

Status Scheduler::Forward() {
  steps_.clear();
  size_t logit_rows = 0;
  int64_t prompt_rows = 0;
  int64_t decode_rows = 0;
  for (const Part& part : parts_) {
    const Sequence& s = *part.sequence;
    const auto tokens =
        std::span<const int32_t>(s.tokens).subspan(static_cast<size_t>(s.computed), static_cast<size_t>(part.rows));
    steps_.push_back(
        {tokens, s.computed, &s.pages, part.phase, part.wants_logits ? LogitRows::kLast : LogitRows::kNone});
    logit_rows += part.wants_logits ? 1 : 0;
    (part.phase == Phase::kPrompt ? prompt_rows : decode_rows) += part.rows;
  }
  const Clock::time_point begin = Clock::now();
  Status status =
      model_.Forward(steps_, std::span(logits_).first(logit_rows * static_cast<size_t>(model_.config().vocab)));
  const double seconds = Seconds(Clock::now() - begin);
  const double prompt_share = static_cast<double>(prompt_rows) / static_cast<double>(prompt_rows + decode_rows);
  stats_.prefill_seconds += seconds * prompt_share;
  stats_.decode_seconds += seconds * (1 - prompt_share);
  return status;
}

void Scheduler::Advance(const Part& part, std::span<float> logits) {
  Sequence& s = *part.sequence;
  s.computed += part.rows;
  GenerationEvent event;
  const int64_t prefilled = std::min(s.computed, s.prompt_tokens);
  const bool progress = prefilled > s.prefilled;
  if (progress) {
    stats_.prompt_tokens += prefilled - s.prefilled;
    s.prefilled = prefilled;
  }
  if (part.wants_logits) {
    if (Status status = Draw(&s, logits, &event); !status.ok()) {
      event.status = std::move(status);
      return Finish(&s, FinishReason::kError, std::move(event));
    }
  }
  if (event.finish) {
    const FinishReason reason = *event.finish;
    return Finish(&s, reason, std::move(event));
  }
  if (!progress && event.text.empty() && event.tokens.empty()) return;
  event.prefilled_tokens = s.prefilled;
  s.sink(std::move(event));
}

Status Scheduler::Draw(Sequence* s, std::span<float> logits, GenerationEvent* event) {
  if (s->generated == 0) s->first_token = Clock::now();
  if (s->max_tokens == 0) {
    event->finish = FinishReason::kLength;
    return Status::Ok();
  }
  INK_ASSIGN_OR_RETURN(const int32_t token, s->sampler.Sample(logits.first(static_cast<size_t>(vocab_)), s->tokens,
                                                              static_cast<size_t>(s->prompt_tokens), &workspace_));
  ++s->generated;
  ++stats_.generated_tokens;
  if (!s->ignore_eos && IsStopToken(token)) {
    event->finish = FinishReason::kStop;
    return Status::Ok();
  }
  s->tokens.push_back(token);
  GeneratedToken generated{token, 0, {}};
  if (s->top_logprobs >= 0) generated = MakeGeneratedToken(logits, token, s->top_logprobs, vocab_);
  s->answer.Push(std::move(generated), event);
  if (s->answer.stopped()) {
    event->finish = FinishReason::kStop;
  } else if (s->generated == s->max_tokens || s->size() >= options_.context) {
    event->finish = FinishReason::kLength;
  }
  return Status::Ok();
}

bool Scheduler::IsStopToken(int32_t token) const {
  const std::span<const int32_t> stops = tokenizer_.stop_tokens();
  return std::find(stops.begin(), stops.end(), token) != stops.end();
}

void Scheduler::Finish(Sequence* sequence, FinishReason reason, GenerationEvent event) {
  const SequencePtr s = Take(sequence);
  s->pages.Clear();
  s->answer.Finish(&event);
  // What was held back may complete a stop string when the stream ends in the middle of a character.
  if (s->answer.stopped()) event.stop_string = s->answer.stop_string();
  if (s->answer.stopped() && reason == FinishReason::kLength) reason = FinishReason::kStop;
  event.finish = reason;
  event.prefilled_tokens = s->prefilled;
  const Clock::time_point now = Clock::now();
  const Clock::time_point admitted = s->started ? s->admitted : now;
  const Clock::time_point first = s->generated > 0 ? s->first_token : now;
  event.usage = {s->prompt_tokens,          s->generated,        0, Seconds(admitted - s->submitted),
                 Seconds(first - admitted), Seconds(now - first)};
  stats_.cancelled += reason == FinishReason::kCancelled ? 1 : 0;
  stats_.failed += reason == FinishReason::kError ? 1 : 0;
  before_last_event_();
  s->sink(std::move(event));
}

Scheduler::SequencePtr Scheduler::Take(const Sequence* sequence) {
  const auto is_it = [sequence](const SequencePtr& s) { return s.get() == sequence; };
  SequencePtr taken;
  if (const auto it = std::find_if(running_.begin(), running_.end(), is_it); it != running_.end()) {
    taken = std::move(*it);
    running_.erase(it);
  } else {
    const auto waiting = std::find_if(waiting_.begin(), waiting_.end(), is_it);
    taken = std::move(*waiting);
    waiting_.erase(waiting);
  }
  return taken;
}

EngineStats Scheduler::stats() const {
  EngineStats stats = stats_;
  stats.running = static_cast<int>(running_.size());
  stats.waiting = static_cast<int>(waiting_.size());
  stats.kv_pages_total = pool_.total_pages();
  stats.kv_pages_used = pool_.total_pages() - pool_.free_pages();
  return stats;
}

}  // namespace inkstone

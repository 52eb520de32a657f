#include "engine/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

namespace inkstone {
namespace {

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

constexpr int64_t kRecomputeRows = 64;  // tokens decoded again in one step, after preemption
constexpr int64_t kRecomputeRowsBesideOthers = 8;

constexpr auto kOlder = [](const auto& a, const auto& b) { return a->id < b->id; };

}  // namespace

Scheduler::Scheduler(Parts parts, PrefillJob job, const EngineOptions& options,
                     std::function<void(const Sequence&)> before_last_event)
    : model_(*parts.model),
      pool_(*parts.pool),
      vocab_(parts.vocab),
      now_(std::move(parts.now)),
      options_(options),
      before_last_event_(std::move(before_last_event)),
      store_(parts.store),
      cache_(&pool_, parts.store),
      room_(&pool_, &cache_, options_.window, options_.prompt_chunk),
      domains_(options.share, pool_.layout().page_tokens),
      budget_(options.prompt_chunk, options.prefill_share),
      job_(std::move(job)),
      logits_(static_cast<size_t>(options.max_sequences) * static_cast<size_t>(model_.config().vocab)),
      workspace_(parts.vocab) {
  const size_t sequences = static_cast<size_t>(options.max_sequences);
  running_.reserve(sequences);
  decode_parts_.reserve(sequences);
  steps_.reserve(sequences);
}

void Scheduler::Add(SequencePtr sequence) {
  share_.Enter(sequence->origin, sequence->client);
  sequence->domain = domains_.Of(sequence->origin, sequence->client, sequence->tokens, sequence->shared_tokens);
  waiting_.push_back(std::move(sequence));
}

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
  EndExpired();
  Admit();
  ReservePages();
  Decode();
  Prefill();
}

void Scheduler::EndExpired() {
  const Clock::time_point now = now_();
  std::vector<Sequence*> expired;
  for (const SequencePtr& s : running_) {
    if (s->Expired(now)) expired.push_back(s.get());
  }
  for (const SequencePtr& s : waiting_) {
    if (s->Expired(now)) expired.push_back(s.get());
  }
  for (Sequence* s : expired) {
    Fail(s, DeadlineExceeded("the deadline of " + std::to_string(s->deadline->count()) + " ms passed" +
                             (s->started ? "; tokens of the answer so far: " + std::to_string(s->generated)
                                         : std::string(" while the request waited in the queue"))));
  }
}

void Scheduler::Admit() {
  for (auto next = Next(); next != waiting_.end() && MayAdmit(); next = Next()) {
    Sequence* wanted = next->get();
    if (Status status = room_.Check(*wanted); !status.ok()) {
      Fail(wanted, std::move(status));
      continue;
    }
    ChooseDomain(wanted);
    if (!Load(*wanted)) return;
    while (static_cast<int>(running_.size()) == options_.max_sequences || !TakePages(wanted)) {
      Sequence* other = GivesWayTo(*wanted);
      if (other == nullptr) return;
      Preempt(other);
    }
    SequencePtr sequence = Take(wanted);
    if (!std::exchange(sequence->started, true)) sequence->admitted = now_();
    const auto before = [this](const SequencePtr& a, const SequencePtr& b) {
      return Rank(*a) != Rank(*b) ? Rank(*a) > Rank(*b) : a->id < b->id;
    };
    running_.insert(std::upper_bound(running_.begin(), running_.end(), sequence, before), std::move(sequence));
  }
}

// The last token is always computed: its logits are what the sequence needs.
PrefixQuery Scheduler::QueryOf(const Sequence& s) const {
  const size_t most = s.tokens.size() - 1;
  return {std::span(s.tokens).first(most), std::span(s.phases).first(most),
          !s.started && options_.prefix == PrefixReuse::kAll, s.domain};
}

// Where reading a page takes longer than computing it, it is tried again now and then: the disk may have been busy.
bool Scheduler::LoadingPays() {
  if (load_seconds_ == 0 || computed_tokens_ == 0) return true;
  const double compute = stats_.prefill_seconds / static_cast<double>(computed_tokens_) * pool_.layout().page_tokens;
  if (load_seconds_ <= compute) return true;
  load_seconds_ *= 0.99;
  return false;
}

bool Scheduler::Load(const Sequence& s) {
  if (store_ == nullptr || options_.prefix == PrefixReuse::kOff || !LoadingPays()) return true;
  const double allowed = budget_.Allowance(CurrentLoad());
  double spent = 0;
  while (true) {
    const Clock::time_point begin = now_();
    if (!cache_.Load(QueryOf(s))) return true;
    const double seconds = Seconds(now_() - begin);
    load_seconds_ = load_seconds_ == 0 ? seconds : 0.8 * load_seconds_ + 0.2 * seconds;
    ++stats_.loaded_pages;
    if ((spent += seconds) >= allowed) return false;
  }
}

bool Scheduler::TakePages(Sequence* s) {
  PrefixFind found;
  if (options_.prefix != PrefixReuse::kOff) found = cache_.Find(QueryOf(*s));
  AllowAlone(*s);
  if (!room_.Admits(*s, found, running_.empty() ? 0 : 1)) return false;
  std::vector<Phase> phases;
  if (options_.prefix != PrefixReuse::kOff) phases = cache_.Acquire(QueryOf(*s), &s->pages);
  s->computed = static_cast<int64_t>(phases.size());
  if (!Reserve(s)) {
    s->pages.Clear();
    s->computed = 0;
    return false;
  }
  std::copy(phases.begin(), phases.end(), s->phases.begin());
  const int64_t prefilled = std::min(s->computed, s->prompt_tokens);
  if (!s->started) s->cached = prefilled;
  if (prefilled > s->prefilled) {
    stats_.prompt_tokens += prefilled - s->prefilled;
    stats_.cached_tokens += WholePages(prefilled - s->prefilled);
    s->prefilled = prefilled;
  }
  return true;
}

bool Scheduler::Reserve(Sequence* s) {
  AllowAlone(*s);
  return room_.Reserve(s);
}

// Room for every token that is known now, the newest included.
void Scheduler::ReservePages() {
  for (size_t i = 0; i < running_.size();) {
    if (Reserve(running_[i].get())) {
      ++i;
      continue;
    }
    Sequence* last = LastInOrder();
    const auto at = std::find_if(running_.begin(), running_.end(), [&](const auto& s) { return s.get() == last; });
    if (at - running_.begin() < static_cast<std::ptrdiff_t>(i)) --i;
    Preempt(last);
  }
}

void Scheduler::Preempt(Sequence* s) {
  Keep(s, true);
  WaitAgain(s);
}

void Scheduler::WaitAgain(const Sequence* sequence) {
  SequencePtr s = Take(sequence);
  job_.Drop(s.get());
  s->pages.Clear();
  s->computed = 0;
  ++stats_.preempted;
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), s, kOlder), std::move(s));
}

StepLoad Scheduler::CurrentLoad() const {
  const auto decoding = std::count_if(running_.begin(), running_.end(),
                                      [](const SequencePtr& s) { return s->next_phase() == Phase::kDecode; });
  return {static_cast<int>(decoding), static_cast<int>(unfinished() - decoding)};
}

void Scheduler::Decode() {
  PlanDecode();
  if (decode_parts_.empty()) return;
  const Clock::time_point begin = now_();
  const Status status = ForwardDecode();
  const double seconds = Seconds(now_() - begin);
  stats_.decode_seconds += seconds;
  budget_.OnDecode(seconds);
  Charge(decode_parts_, seconds);
  if (!status.ok()) return Fail(decode_parts_, status);
  Advance(decode_parts_, logits_);
}

void Scheduler::PlanDecode() {
  decode_parts_.clear();
  int64_t rows = options_.prompt_chunk;
  for (const SequencePtr& s : running_) {
    if (!s->decoding() || rows == 0) continue;
    decode_parts_.push_back({s.get(), 1, true});
    --rows;
  }
  rows = std::min(rows, decode_parts_.empty() ? kRecomputeRows : kRecomputeRowsBesideOthers);
  for (const SequencePtr& s : running_) {
    if (s->next_phase() != Phase::kDecode || s->decoding() || rows == 0) continue;
    const int64_t count = std::min(rows, room_.Rows(*s));
    if (count == 0) continue;
    decode_parts_.push_back({s.get(), count, s->computed + count == s->size()});
    rows -= count;
  }
}

Status Scheduler::ForwardDecode() {
  steps_.clear();
  size_t logit_rows = 0;
  for (const Part& part : decode_parts_) {
    const Sequence& s = *part.sequence;
    const auto tokens =
        std::span<const int32_t>(s.tokens).subspan(static_cast<size_t>(s.computed), static_cast<size_t>(part.rows));
    steps_.push_back(
        {tokens, s.computed, &s.pages, Phase::kDecode, part.wants_logits ? LogitRows::kLast : LogitRows::kNone});
    logit_rows += part.wants_logits ? 1 : 0;
  }
  return model_.Forward(steps_, std::span(logits_).first(logit_rows * static_cast<size_t>(model_.config().vocab)));
}

void Scheduler::BeginPrefill() {
  std::vector<Part> parts;
  int64_t rows = budget_.ChunkRows(CurrentLoad());
  for (Sequence* s : PromptsInOrder()) {
    if (rows == 0) break;
    const int64_t count = std::min(rows, room_.Rows(*s));
    if (count == 0) continue;
    parts.push_back({s, count, s->computed + count == s->size()});
    rows -= count;
  }
  job_.Begin(parts);
  budget_.OnChunk(job_.rows());
}

void Scheduler::Prefill() {
  if (!job_.active()) BeginPrefill();
  if (!job_.active()) return;
  const StepLoad load = CurrentLoad();
  double spent = 0;
  while (!job_.done() && budget_.MayRunLayer(load, spent)) {
    const Clock::time_point begin = now_();
    if (const Status status = job_.RunLayer(); !status.ok()) {
      const std::vector<Part> parts = job_.parts();
      job_.Clear();
      return Fail(parts, status);
    }
    const double seconds = Seconds(now_() - begin);
    budget_.OnLayer(seconds);
    spent += seconds;
  }
  stats_.prefill_seconds += spent;
  Charge(job_.parts(), spent);
  if (job_.done()) FinishPrefill();
}

void Scheduler::FinishPrefill() {
  const Status status = job_.Logits(logits_);
  const std::vector<Part> parts = job_.parts();
  job_.Clear();
  if (!status.ok()) return Fail(parts, status);
  Advance(parts, logits_);
}

void Scheduler::Fail(const std::vector<Part>& parts, const Status& status) {
  if (pool_.spill() == nullptr || !pool_.spill()->TakeFailedRead()) {
    for (const Part& part : parts) Fail(part.sequence, status);
    return;
  }
  // Nothing that was on disk is used again. Whose pages were in memory repeats the step; the others compute theirs
  // again, once.
  cache_.DropSpilled();
  for (const Part& part : parts) {
    Sequence* s = part.sequence;
    if (s->pages.spilled_pages() == 0) continue;
    if (std::exchange(s->lost_pages, true)) {
      Fail(s, status);
    } else {
      WaitAgain(s);
    }
  }
}

void Scheduler::Fail(const Sequence* sequence, Status status) {
  GenerationEvent event;
  event.status = std::move(status);
  Finish(sequence, FinishReason::kError, std::move(event));
}

void Scheduler::Charge(const std::vector<Part>& parts, double seconds) {
  int64_t rows = 0;
  for (const Part& part : parts) rows += part.rows;
  for (const Part& part : parts) {
    const Sequence& s = *part.sequence;
    share_.Charge(s.origin, s.client, seconds * static_cast<double>(part.rows) / static_cast<double>(rows));
  }
}

void Scheduler::Keep(Sequence* s, bool partial) {
  if (options_.prefix == PrefixReuse::kOff) return;
  const size_t computed = static_cast<size_t>(s->computed);
  cache_.Insert(std::span(s->tokens).first(computed), std::span(s->phases).first(computed), s->domain, partial,
                &s->pages);
}

void Scheduler::Advance(const std::vector<Part>& parts, std::span<float> logits) {
  const size_t vocab = static_cast<size_t>(model_.config().vocab);
  for (const Part& part : parts) {
    Advance(part, part.wants_logits ? logits.first(vocab) : std::span<float>());
    if (part.wants_logits) logits = logits.subspan(vocab);
  }
}

void Scheduler::Advance(const Part& part, std::span<float> logits) {
  Sequence& s = *part.sequence;
  s.computed += part.rows;
  GenerationEvent event;
  const int64_t prefilled = std::min(s.computed, s.prompt_tokens);
  const bool progress = prefilled > s.prefilled;
  if (progress) {
    stats_.prompt_tokens += prefilled - s.prefilled;
    computed_tokens_ += prefilled - s.prefilled;
    s.prefilled = prefilled;
    Keep(&s, false);  // others may want them now
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
  event.prefilled_tokens = s.prefilled == s.prompt_tokens ? s.prefilled : WholePages(s.prefilled);
  s.sink(std::move(event));
}

Status Scheduler::Draw(Sequence* s, std::span<float> logits, GenerationEvent* event) {
  if (s->generated == 0) s->first_token = now_();
  if (s->max_tokens == 0) {
    event->finish = FinishReason::kLength;
    return Status::Ok();
  }
  INK_ASSIGN_OR_RETURN(const int32_t token, s->sampler.Sample(logits.first(static_cast<size_t>(vocab_)), s->tokens,
                                                              static_cast<size_t>(s->prompt_tokens), &workspace_));
  ++s->generated;
  ++stats_.generated_tokens;
  if (s->EndsWith(token)) {
    event->finish = FinishReason::kStop;
    return Status::Ok();
  }
  s->Append(token);
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

void Scheduler::Finish(const Sequence* sequence, FinishReason reason, GenerationEvent event) {
  const SequencePtr s = Take(sequence);
  job_.Drop(s.get());
  if (reason != FinishReason::kError) Keep(s.get(), true);
  s->pages.Clear();
  share_.Leave(s->origin, s->client);
  s->answer.Finish(&event);
  // What was held back may complete a stop string when the stream ends in the middle of a character.
  if (s->answer.stopped()) event.stop_string = s->answer.stop_string();
  if (s->answer.stopped() && reason == FinishReason::kLength) reason = FinishReason::kStop;
  event.finish = reason;
  event.prefilled_tokens = s->prefilled == s->prompt_tokens ? s->prefilled : WholePages(s->prefilled);
  const Clock::time_point now = now_();
  const Clock::time_point admitted = s->started ? s->admitted : now;
  const Clock::time_point first = s->generated > 0 ? s->first_token : now;
  event.usage = {s->prompt_tokens,          s->generated,
                 WholePages(s->cached),     Seconds(admitted - s->submitted),
                 Seconds(first - admitted), Seconds(now - first)};
  stats_.cancelled += reason == FinishReason::kCancelled ? 1 : 0;
  stats_.failed += reason == FinishReason::kError ? 1 : 0;
  before_last_event_(*s);
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
  stats.kv_pages_used = pool_.used_pages() - pool_.idle_pages();
  stats.kv_pages_idle = pool_.idle_pages();
  stats.kv_pages_free_resident = pool_.free_resident_pages();
  stats.kv_page_limit = pool_.limit();
  stats.kv_page_bytes = static_cast<int64_t>(pool_.layout().page_bytes());
  stats.kv_pages_cached = cache_.pages();
  stats.evicted_pages = cache_.evicted();
  if (store_ != nullptr) stats.store = store_->stats();
  if (pool_.spill() != nullptr) stats.spill = pool_.spill()->stats();
  return stats;
}

}  // namespace inkstone

// Who goes first, and who gives way.
#include <algorithm>
#include <tuple>

#include "engine/scheduler.h"

namespace inkstone {
namespace {

constexpr std::chrono::seconds kAging{5};  // of waiting are worth one step of priority
constexpr int64_t kSharedPages = 2;        // to be gained, for a sequence to wait for another's prompt

}  // namespace

Scheduler::Scope Scheduler::ScopeOf(const Sequence& s) const {
  return options_.allow_priority ? Scope() : Scope(s.origin, s.client);
}

std::map<Scheduler::Scope, int> Scheduler::HighestWaiting() const {
  std::map<Scope, int> highest;
  for (const SequencePtr& s : waiting_) {
    const auto [entry, added] = highest.emplace(ScopeOf(*s), s->priority);
    entry->second = std::max(entry->second, s->priority);
  }
  return highest;
}

// Waiting brings a request level with those of a higher priority, so that it gets its turn; not before others of its
// own, or whoever has sent many early would pass whoever comes with one.
int64_t Scheduler::EffectivePriority(const Sequence& s, int highest) const {
  return std::min<int64_t>(s.priority + (now_() - s.submitted) / kAging, std::max(highest, s.priority));
}

Clock::time_point Scheduler::DueAlone(const Sequence& s) const {
  if (computed_tokens_ == 0) return s.submitted;
  const double token_seconds = stats_.prefill_seconds / static_cast<double>(computed_tokens_);
  const std::chrono::duration<double> seconds(token_seconds * static_cast<double>(s.prompt_tokens - s.cached));
  return s.submitted + std::chrono::duration_cast<Clock::duration>(seconds);
}

std::deque<Scheduler::SequencePtr>::iterator Scheduler::Next() {
  const std::map<Scope, int> highest = HighestWaiting();
  const auto place = [&](const Sequence& s) {
    const int64_t priority = EffectivePriority(s, highest.at(ScopeOf(s)));
    return std::tuple(options_.allow_priority ? -priority : 0, share_.StandingOf(s.origin, s.client), -priority,
                      !s.started, DueAlone(s), s.id);
  };
  using Place = std::invoke_result_t<decltype(place), const Sequence&>;
  auto best = waiting_.end();
  std::optional<Place> first;
  for (auto s = waiting_.begin(); s != waiting_.end(); ++s) {
    const Place its = place(**s);
    if (first && !(its < *first)) continue;
    if (ComesAfterAnother(**s)) continue;
    best = s;
    first = its;
  }
  return best;
}

bool Scheduler::ComesAfterAnother(const Sequence& s) const {
  if (options_.prefix == PrefixReuse::kOff || s.started) return false;
  const int64_t page_tokens = pool_.layout().page_tokens;
  int64_t common = 0;
  for (const SequencePtr& other : running_) {
    if (other->next_phase() != Phase::kPrompt) continue;
    const auto prompt = std::span(other->tokens).first(static_cast<size_t>(other->prompt_tokens));
    common = std::max(common, CommonTokens(s.tokens, s.domain, prompt, other->domain, page_tokens));
  }
  if (common < kSharedPages * page_tokens) return false;
  return common >= cache_.Find(QueryOf(s)).tokens + kSharedPages * page_tokens;
}

void Scheduler::ChooseDomain(Sequence* s) const {
  if (s->started || s->domain.shared_tokens == 0 || options_.prefix == PrefixReuse::kOff) return;
  PrefixQuery own = QueryOf(*s);
  own.domain.shared_tokens = 0;
  if (cache_.Find(own).tokens > cache_.Find(QueryOf(*s)).tokens) s->domain = own.domain;
}

int64_t Scheduler::RunningOf(const std::string& origin) const {
  return std::count_if(running_.begin(), running_.end(), [&](const SequencePtr& s) { return s->origin == origin; });
}

Sequence* Scheduler::LastInOrder() const {
  Sequence* last = nullptr;
  int64_t most = 0;
  for (auto s = running_.rbegin(); s != running_.rend() && Rank(**s) == Rank(*running_.back()); ++s) {
    const int64_t count = RunningOf((*s)->origin);
    if (count <= most) continue;
    last = s->get();
    most = count;
  }
  return last;
}

Sequence* Scheduler::GivesWayTo(const Sequence& wanted) const {
  Sequence* lowest = nullptr;
  for (auto s = running_.rbegin(); s != running_.rend(); ++s) {
    const bool comparable = ScopeOf(**s) == ScopeOf(wanted);
    if (comparable && (*s)->priority < (lowest == nullptr ? wanted.priority : lowest->priority)) lowest = s->get();
  }
  if (lowest != nullptr) return lowest;
  // An origin of which nothing runs has a place where another has several, if that makes room enough.
  Sequence* last = LastInOrder();
  if (last == nullptr || RunningOf(wanted.origin) > 0 || RunningOf(last->origin) < 2 || Rank(*last) > Rank(wanted)) {
    return nullptr;
  }
  int64_t stay = pool_.layout().PagesFor(wanted.size()) + 1;
  bool one = false;  // of the origin that makes room stays
  for (const SequencePtr& s : running_) {
    if (s->origin == last->origin && std::exchange(one, true)) continue;
    stay += std::ssize(s->pages.pages());
  }
  return stay <= pool_.limit() ? last : nullptr;
}

std::vector<Sequence*> Scheduler::PromptsInOrder() const {
  using Place = std::tuple<int, Standing, int, Clock::time_point>;
  std::vector<std::pair<Place, Sequence*>> prompts;
  for (const SequencePtr& s : running_) {
    if (s->next_phase() != Phase::kPrompt) continue;
    prompts.emplace_back(Place(-Rank(*s), share_.StandingOf(s->origin, s->client), -s->priority, DueAlone(*s)),
                         s.get());
  }
  // running_ has the order of age already.
  std::stable_sort(prompts.begin(), prompts.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Sequence*> order;
  order.reserve(prompts.size());
  for (const auto& [place, sequence] : prompts) order.push_back(sequence);
  return order;
}

}  // namespace inkstone

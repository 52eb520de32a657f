#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace inkstone {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Likelier first, ties to the lower id: a total order, so that selection gives one result everywhere.
constexpr auto kLikelier = [](const auto& a, const auto& b) {
  return a.score != b.score ? a.score > b.score : a.token < b.token;
};

// Moves the best `count` of [begin, end) under `less` to the front, sorted.
template <typename Iterator, typename Less>
void SortFront(Iterator begin, Iterator end, std::ptrdiff_t count, const Less& less) {
  if (count < end - begin) std::nth_element(begin, begin + count, end, less);
  std::sort(begin, begin + std::min(count, end - begin), less);
}

// Keeps the shortest prefix, in the order of `less`, that holds at least `share` of the mass. Sorts only as much as
// that takes: a first guess, then eight times as many.
template <typename Candidates, typename Less>
void KeepMass(Candidates* candidates, double share, const Less& less) {
  double total = 0;
  for (const auto& c : *candidates) total += c.p;
  const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(candidates->size());
  std::ptrdiff_t sorted = 0;
  double mass = 0;
  for (std::ptrdiff_t want = 64; sorted < size; want *= 8) {
    const std::ptrdiff_t end = std::min(want, size);
    SortFront(candidates->begin() + sorted, candidates->end(), end - sorted, less);
    for (; sorted < end; ++sorted) {
      mass += (*candidates)[static_cast<size_t>(sorted)].p;
      if (mass >= share * total) {
        candidates->erase(candidates->begin() + sorted + 1, candidates->end());
        return;
      }
    }
  }
}

}  // namespace

SamplerWorkspace::SamplerWorkspace(int32_t vocab) : counts_(static_cast<size_t>(vocab), 0) {
  candidates_.reserve(static_cast<size_t>(vocab));
}

Result<int32_t> Sampler::Sample(std::span<float> logits, std::span<const int32_t> history, size_t prompt_tokens,
                                SamplerWorkspace* workspace) {
  workspace->saved_.clear();
  if (params_.repetition_penalty != 1.0f) ApplyRepetition(logits, history, workspace);
  if (params_.presence_penalty != 0.0f || params_.frequency_penalty != 0.0f) {
    ApplyPresence(logits, history.subspan(prompt_tokens), workspace);
  }
  if (!params_.logit_bias.empty()) ApplyBias(logits, workspace);
  if (history.size() < prompt_tokens + min_tokens_) HoldBackEnds(logits, workspace);
  Result<int32_t> token = Choose(logits, workspace);
  for (auto saved = workspace->saved_.rbegin(); saved != workspace->saved_.rend(); ++saved) {
    logits[static_cast<size_t>(saved->token)] = saved->logit;
  }
  return token;
}

void Sampler::ApplyRepetition(std::span<float> logits, std::span<const int32_t> history,
                              SamplerWorkspace* workspace) const {
  if (params_.penalty_window > 0 && history.size() > static_cast<size_t>(params_.penalty_window)) {
    history = history.last(static_cast<size_t>(params_.penalty_window));
  }
  workspace->touched_.clear();
  for (const int32_t token : history) {
    const size_t t = static_cast<size_t>(token);
    if (t >= logits.size() || workspace->counts_[t]++ != 0) continue;
    workspace->touched_.push_back(token);
    workspace->saved_.push_back({token, logits[t]});
    logits[t] = logits[t] > 0 ? logits[t] / params_.repetition_penalty : logits[t] * params_.repetition_penalty;
  }
  for (const int32_t token : workspace->touched_) workspace->counts_[static_cast<size_t>(token)] = 0;
}

void Sampler::ApplyPresence(std::span<float> logits, std::span<const int32_t> answer,
                            SamplerWorkspace* workspace) const {
  workspace->touched_.clear();
  for (const int32_t token : answer) {
    const size_t t = static_cast<size_t>(token);
    if (t < logits.size() && workspace->counts_[t]++ == 0) workspace->touched_.push_back(token);
  }
  for (const int32_t token : workspace->touched_) {
    const size_t t = static_cast<size_t>(token);
    workspace->saved_.push_back({token, logits[t]});
    logits[t] -= params_.presence_penalty + params_.frequency_penalty * static_cast<float>(workspace->counts_[t]);
    workspace->counts_[t] = 0;
  }
}

void Sampler::ApplyBias(std::span<float> logits, SamplerWorkspace* workspace) const {
  for (const auto& [token, bias] : params_.logit_bias) {
    const size_t t = static_cast<size_t>(token);
    if (t >= logits.size()) continue;
    workspace->saved_.push_back({token, logits[t]});
    logits[t] = bias <= -100.0f ? -kInfinity : logits[t] + bias;
  }
}

void Sampler::HoldBackEnds(std::span<float> logits, SamplerWorkspace* workspace) const {
  for (const int32_t token : ends_) {
    const size_t t = static_cast<size_t>(token);
    if (t >= logits.size()) continue;
    workspace->saved_.push_back({token, logits[t]});
    logits[t] = -kInfinity;
  }
}

Result<int32_t> Sampler::Choose(std::span<const float> logits, SamplerWorkspace* workspace) {
  float best = -kInfinity;
  size_t best_token = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] < kInfinity)) {
      return Internal("logit of token " + std::to_string(i) + " is " + (logits[i] > 0 ? "infinite" : "not a number") +
                      "; the model's weights or their quantization are damaged");
    }
    if (logits[i] > best) {
      best = logits[i];
      best_token = i;
    }
  }
  if (best == -kInfinity) return InvalidArgument("logit_bias bans every token");
  if (params_.temperature == 0.0f || params_.top_k == 1) return static_cast<int32_t>(best_token);

  std::vector<Candidate>* candidates = &workspace->candidates_;
  Gather(logits, best, candidates);
  if (params_.top_p < 1.0f) KeepTopP(candidates);
  if (params_.min_p > 0.0f) KeepMinP(candidates);
  if (params_.typical_p < 1.0f) KeepTypical(candidates);
  return Draw(*candidates);
}

void Sampler::Gather(std::span<const float> logits, float best, std::vector<Candidate>* candidates) const {
  candidates->clear();
  const float scale = 1.0f / params_.temperature;
  const size_t k = params_.top_k > 0 ? std::min(static_cast<size_t>(params_.top_k), logits.size()) : logits.size();
  // A heap of the k best so far, the least likely on top; logits below it are passed over with one comparison.
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool full = candidates->size() == k;
    if (logits[i] == -kInfinity || (full && logits[i] <= candidates->front().score)) continue;
    if (full) {
      std::pop_heap(candidates->begin(), candidates->end(), kLikelier);
      candidates->back() = {static_cast<int32_t>(i), logits[i], 0};
    } else {
      candidates->push_back({static_cast<int32_t>(i), logits[i], 0});
    }
    if (k < logits.size()) std::push_heap(candidates->begin(), candidates->end(), kLikelier);
  }
  if (k < logits.size()) std::sort(candidates->begin(), candidates->end(), kLikelier);
  for (Candidate& c : *candidates) {
    c.score = (c.score - best) * scale;
    c.p = std::exp(static_cast<double>(c.score));
  }
}

void Sampler::KeepTopP(std::vector<Candidate>* candidates) const { KeepMass(candidates, params_.top_p, kLikelier); }

void Sampler::KeepMinP(std::vector<Candidate>* candidates) const {
  const double least = params_.min_p;  // the best candidate has p = 1
  std::erase_if(*candidates, [least](const Candidate& c) { return c.p < least; });
}

// Nearest to the expected surprise first: |-log p - entropy|.
void Sampler::KeepTypical(std::vector<Candidate>* candidates) const {
  double total = 0;
  double weighted = 0;  // sum of p * score
  for (const Candidate& c : *candidates) {
    total += c.p;
    if (c.p > 0) weighted += c.p * c.score;
  }
  // With q = p / total: -log q = log(total) - score, and the entropy is log(total) - weighted / total.
  const double mean = weighted / total;
  KeepMass(candidates, params_.typical_p, [mean](const Candidate& a, const Candidate& b) {
    const double da = std::abs(a.score - mean);
    const double db = std::abs(b.score - mean);
    return da != db ? da < db : a.token < b.token;
  });
}

int32_t Sampler::Draw(std::span<const Candidate> candidates) {
  double total = 0;
  for (const Candidate& c : candidates) total += c.p;
  double rest = random_.NextUnit() * total;
  int32_t token = candidates.front().token;
  for (const Candidate& c : candidates) {
    if (c.p <= 0) continue;
    token = c.token;  // the last possible one, should rounding leave a rest
    rest -= c.p;
    if (rest < 0) break;
  }
  return token;
}

GeneratedToken MakeGeneratedToken(std::span<const float> logits, int32_t token, int top, int32_t vocab) {
  const double best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - best);
  const double log_sum = best + std::log(sum);

  GeneratedToken out;
  out.token = token;
  out.logprob = static_cast<float>(logits[static_cast<size_t>(token)] - log_sum);
  const auto likelier = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
  };
  const size_t n = static_cast<size_t>(std::clamp(top, 0, vocab));
  out.top.reserve(n);
  for (int32_t t = 0; t < vocab && n > 0; ++t) {  // heap of the n best, as raw logits at first
    const float logit = logits[static_cast<size_t>(t)];
    if (out.top.size() == n) {
      if (logit <= out.top.front().logprob) continue;
      std::pop_heap(out.top.begin(), out.top.end(), likelier);
      out.top.pop_back();
    }
    out.top.push_back({t, logit});
    std::push_heap(out.top.begin(), out.top.end(), likelier);
  }
  std::sort(out.top.begin(), out.top.end(), likelier);
  for (TokenLogprob& t : out.top) t.logprob = static_cast<float>(t.logprob - log_sum);
  return out;
}

}  // namespace inkstone

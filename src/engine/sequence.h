// One request on its way through the engine.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/answer_stream.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "kvcache/page_pool.h"
#include "kvcache/prefix_cache.h"

namespace inkstone {

using Clock = std::chrono::steady_clock;

// Made by the thread that submits, then touched by the engine thread only.
struct Sequence {
  Sequence(RequestId request_id, GenerationRequest wanted, EventSink events, uint64_t seed, const Tokenizer& tokenizer,
           PagePool* pool)
      : id(request_id),
        sink(std::move(events)),
        ends(EndsOf(wanted, tokenizer)),
        sampler(std::move(wanted.sampling), seed, ends, wanted.min_tokens),
        answer(tokenizer, wanted.keep_special, std::move(wanted.stop), wanted.min_tokens),
        tokens(std::move(wanted.prompt)),
        prompt_tokens(static_cast<int64_t>(tokens.size())),
        max_tokens(wanted.max_tokens),
        top_logprobs(wanted.top_logprobs),
        priority(wanted.priority),
        origin(std::move(wanted.origin)),
        client(std::move(wanted.client)),
        shared_tokens(wanted.shared_tokens),
        deadline(wanted.deadline),
        phases(tokens.size(), Phase::kPrompt),
        pages(pool) {}

  static std::vector<int32_t> EndsOf(const GenerationRequest& wanted, const Tokenizer& tokenizer) {
    std::vector<int32_t> ends(wanted.stop_tokens.begin(), wanted.stop_tokens.end());
    const auto own = tokenizer.stop_tokens();
    if (!wanted.ignore_eos) ends.insert(ends.end(), own.begin(), own.end());
    return ends;
  }
  bool EndsWith(int32_t token) const { return std::find(ends.begin(), ends.end(), token) != ends.end(); }
  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  bool Expired(Clock::time_point now) const { return deadline && now - submitted >= *deadline; }
  void Append(int32_t token) {
    tokens.push_back(token);
    phases.push_back(Phase::kDecode);
  }
  // Its newest token is all that the next step needs, and was generated.
  bool decoding() const { return computed + 1 == size() && phases.back() == Phase::kDecode; }
  // How many tokens from `computed` on are computed in one phase, that of the first.
  int64_t Run() const {
    const auto begin = phases.begin() + computed;
    return std::find_if(begin, phases.end(), [&](Phase p) { return p != *begin; }) - begin;
  }
  Phase next_phase() const { return phases[static_cast<size_t>(computed)]; }

  const RequestId id;
  const EventSink sink;
  const std::vector<int32_t> ends;  // tokens that end the answer
  Sampler sampler;                  // borrows them
  AnswerStream answer;
  std::vector<int32_t> tokens;  // prompt, then answer
  const int64_t prompt_tokens;
  const int64_t max_tokens;
  const int top_logprobs;
  const int priority;
  const std::string origin;
  const std::string client;
  const int64_t shared_tokens;
  const std::optional<std::chrono::milliseconds> deadline;  // from `submitted`

  // (tokens): which kernels compute each token's keys and values. A generated token has been decoded, and a prompt
  // token too where the prefix cache had it from an answer: computed again after preemption, it gets the same bits.
  std::vector<Phase> phases;
  PageTable pages;
  CacheDomain domain;       // whose pages these are to others
  int64_t computed = 0;     // tokens whose keys and values are in the pages
  int64_t prefilled = 0;    // most prompt tokens that were ever computed: preemption does not take progress back
  int64_t cached = 0;       // prompt tokens that came from the prefix cache at first
  int64_t generated = 0;    // tokens drawn, a stop token included
  bool started = false;     // admitted at least once
  bool lost_pages = false;  // a disk did not return some; they were computed again

  Clock::time_point submitted = Clock::now();  // changed in simulations only
  Clock::time_point admitted;
  Clock::time_point first_token;
};

}  // namespace inkstone

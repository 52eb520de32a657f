// The scheduler under a simulated clock: random arrivals, lengths, cancellations and failures from a seed.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "engine/scheduler_world.h"

namespace inkstone {
namespace {

// One of few requests, so that beginnings are shared and texts can be compared.
GenerationRequest Request(uint32_t kind) {
  std::mt19937 random(kind);
  GenerationRequest request{.prompt = Tokens(random() % 60, kind % 5),
                            .max_tokens = static_cast<int64_t>(1 + random() % 30)};
  request.shared_tokens = static_cast<int64_t>(request.prompt.size());
  const std::vector<int32_t> own = Tokens(1 + random() % 20, kind);
  request.prompt.insert(request.prompt.end(), own.begin(), own.end());
  request.sampling.temperature = kind % 3 == 0 ? 0.0f : 0.8f;
  request.sampling.seed = kind;
  request.priority = kind % 7 == 0 ? 2 : 0;
  request.client = "client " + std::to_string(kind % 11);
  request.origin = "origin " + std::to_string(kind % 4);
  return request;
}

Answer Alone(uint32_t kind, const AttentionWindow& window) {
  World world({.context = 256, .kv_tokens = 256, .window = window, .prompt_chunk = 64}, 64);
  Answer answer;
  world.Add(1, Request(kind), Into(&answer));
  for (int step = 0; step < 1000 && !world.scheduler_->idle(); ++step) world.scheduler_->Step();
  return answer;
}

// Others on the machine take and give back memory; a page stands for 1 MiB here.
class Pressure {
 public:
  static constexpr int64_t kMiB = 1 << 20;
  explicit Pressure(uint32_t seed) : random_(seed) {}

  // Before each step. The first in order keeps its place whatever happens.
  void Look(World* world) {
    if (world->now_ >= change_) {
      change_ = world->now_ + std::chrono::milliseconds(100 + random_() % 8000);
      others_ = over_ ? 0 : static_cast<int64_t>(random_() % 700) * kMiB;
    }
    if (world->now_ - last_ < std::chrono::milliseconds(100)) return;
    last_ = world->now_;
    const PagePool& pool = *world->pool_;
    MemoryReading r;
    r.page_bytes = kMiB;
    r.total_pages = pool.total_pages();
    r.used_pages = pool.used_pages();
    r.idle_pages = pool.idle_pages();
    r.free_resident_pages = pool.free_resident_pages();
    r.running = static_cast<int>(world->scheduler_->running().size());
    r.total = 600 * kMiB;
    r.room = static_cast<int64_t>(r.total) - 100 * kMiB - others_ - (r.used_pages + r.free_resident_pages) * kMiB;
    state_ = Govern(state_, r, now());
    const RequestId first = r.running == 0 ? 0 : world->scheduler_->running().front()->id;
    world->scheduler_->ReactToMemory(state_);
    ASSERT_EQ(r.running == 0 ? 0 : world->scheduler_->running().front()->id, first);
    ASSERT_LE(pool.used_pages(), pool.limit());
    ASSERT_TRUE(state_.level < MemoryLevel::kPreempt || state_.headroom >= 0 || r.running <= 1 ||
                pool.used_pages() <= std::max<int64_t>(state_.page_limit, pool.total_pages() / 2));
    running_ = world->scheduler_->running().size();
  }
  // After it: held requests stay out.
  void Check(const World& world) const {
    if (state_.level >= MemoryLevel::kHold) {
      ASSERT_LE(world.scheduler_->running().size(), std::max<size_t>(running_, 1));
    }
  }
  void End() { over_ = true, change_ = {}; }
  const MemoryState& state() const { return state_; }

 private:
  MemoryClock::time_point now() const { return last_; }
  std::mt19937 random_;
  Clock::time_point change_ = {};
  Clock::time_point last_ = {};
  int64_t others_ = 0;  // bytes
  size_t running_ = 0;
  bool over_ = false;
  MemoryState state_;
};

class Simulation {
 public:
  Simulation(uint32_t seed, const EngineOptions& options, int64_t pages, const std::map<uint32_t, Answer>& alone,
             const FakeDisk& disk = {})
      : random_(seed), world_(options, pages, disk), alone_(alone) {}

  void Run(int steps) {
    for (int step = 0; step < steps; ++step) {
      Arrive();
      if (random_() % 40 == 0 && !live_.empty()) CancelOne();
      ASSERT_NO_FATAL_FAILURE(Step());
      if (step % 16 == 0) {
        ASSERT_NO_FATAL_FAILURE(world_.CheckPages());
      }
      ASSERT_NO_FATAL_FAILURE(Collect());
    }
    for (int step = 0; step < 100000 && !world_.scheduler_->idle(); ++step) Step();
    ASSERT_TRUE(world_.scheduler_->idle());
    ASSERT_NO_FATAL_FAILURE(Collect());
    EXPECT_TRUE(live_.empty()) << "every request ends";
    ASSERT_NO_FATAL_FAILURE(world_.CheckPages());
    EXPECT_EQ(world_.scheduler_->stats().kv_pages_used, 0);
  }

  // Others then take memory too, and the governor reacts.
  void Add(Pressure* pressure) { pressure_ = pressure; }
  void Step() {
    if (pressure_ == nullptr) return world_.scheduler_->Step();
    if (world_.scheduler_->idle()) world_.now_ += std::chrono::milliseconds(100);
    ASSERT_NO_FATAL_FAILURE(pressure_->Look(&world_));
    world_.scheduler_->Step();
    pressure_->Check(world_);
  }

  EngineStats stats() const { return world_.scheduler_->stats(); }
  int64_t finished() const { return finished_; }
  int64_t failed() const { return failed_; }
  double longest_wait() const { return longest_wait_; }

 private:
  struct Live {
    uint32_t kind;
    Clock::time_point since;
    bool cancelled = false;
    Answer answer;
  };

  void Arrive() {
    if (pressure_ != nullptr && pressure_->state().level == MemoryLevel::kRefuse) return;
    // Bursts, with pauses in which the system may run empty.
    const bool busy = world_.now_.time_since_epoch() / std::chrono::seconds(20) % 2 == 0;
    while (live_.size() < 40 && random_() % (busy ? 3 : 60) == 0) {
      const uint32_t kind = 1 + static_cast<uint32_t>(random_() % alone_.size());
      Live& live = live_[next_];
      live.kind = kind;
      live.since = world_.now_;
      world_.Add(next_++, Request(kind), Into(&live.answer));
    }
  }
  void CancelOne() {
    auto live = live_.begin();
    std::advance(live, random_() % live_.size());
    live->second.cancelled = true;
    world_.scheduler_->Cancel(live->first);
  }
  void Collect() {
    for (auto live = live_.begin(); live != live_.end();) {
      const auto& [kind, since, cancelled, answer] = live->second;
      const double waited = std::chrono::duration<double>(world_.now_ - since).count();
      longest_wait_ = std::max(longest_wait_, waited);
      if (!answer.finish) {
        ++live;
        continue;
      }
      const Answer& expected = alone_.at(kind);
      if (answer.status.message().find("a bad block") != std::string::npos ||
          answer.status.message().find("a full disk") != std::string::npos) {
        ASSERT_EQ(*answer.finish, FinishReason::kError);
        ASSERT_TRUE(std::equal(answer.tokens.begin(), answer.tokens.end(), expected.tokens.begin()));
        ++failed_;
      } else if (*answer.finish != FinishReason::kCancelled) {
        ASSERT_EQ(answer.tokens, expected.tokens) << "kind " << kind;
        ASSERT_EQ(answer.finish, expected.finish);
        ++finished_;
      } else {
        ASSERT_TRUE(cancelled);
      }
      live = live_.erase(live);
    }
  }

  std::mt19937 random_;
  World world_;
  const std::map<uint32_t, Answer>& alone_;
  std::map<RequestId, Live> live_;
  RequestId next_ = 1;
  int64_t finished_ = 0;
  int64_t failed_ = 0;       // with the disk's error
  double longest_wait_ = 0;  // from arrival to the end
  Pressure* pressure_ = nullptr;
};

// With answers not used again, every text is that of a run alone.
TEST(SchedulerSimulation, InvariantsHoldAndTextsAreThoseOfRunsAlone) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr int kSteps = 15'000;
#else
  constexpr int kSteps = 250'000;  // of each of four systems
#endif
  std::map<uint32_t, Answer> alone;
  for (uint32_t kind = 1; kind <= 150; ++kind) alone[kind] = Alone(kind, {});
  struct System {
    int64_t pages;
    int sequences;
    int64_t chunk;
    PrefixShare share = PrefixShare::kAll;
    bool priority = true;  // counts among all
  };
  uint32_t seed = 1;
  for (const System& system : {System{64, 8, 64, PrefixShare::kSystem, false}, System{200, 16, 32},
                               System{40, 4, 7, PrefixShare::kClient, false}, System{64, 2, 512}}) {
    EngineOptions options{.context = 160, .max_sequences = system.sequences, .prompt_chunk = system.chunk};
    options.kv_tokens = system.pages * kPageTokens;
    options.prefix = PrefixReuse::kPrompts;
    options.share = system.share;
    options.allow_priority = system.priority;
    Simulation simulation(seed++, options, system.pages, alone);
    ASSERT_NO_FATAL_FAILURE(simulation.Run(kSteps));
    const EngineStats stats = simulation.stats();
    EXPECT_GT(simulation.finished(), kSteps / 250);
    EXPECT_GT(stats.cached_tokens, stats.prompt_tokens / (system.share == PrefixShare::kAll ? 10 : 100));
    EXPECT_GT(stats.evicted_pages, kSteps / 2500);
    EXPECT_LT(simulation.longest_wait(), 60) << "seconds of the simulated clock: nobody starves";
  }
}

// Whatever the limit, the one that is left has room to go on and is never preempted.
TEST(Scheduler, MemoryPressureNeverTakesPagesFromASequenceThatRunsAlone) {
  World world({.context = 160, .kv_tokens = 160, .max_sequences = 4, .prompt_chunk = 64}, 64);
  Answer answer;
  GenerationRequest request{.prompt = Tokens(20, 1), .max_tokens = 100};
  request.ignore_eos = true;
  world.Add(1, request, Into(&answer));
  MemoryState state;
  state.level = MemoryLevel::kRefuse;
  state.page_limit = 0;
  for (int step = 0; step < 1000 && !world.scheduler_->idle(); ++step) {
    if (step % 10 == 0) world.scheduler_->ReactToMemory(state);
    world.scheduler_->Step();
  }
  EXPECT_EQ(answer.tokens.size(), 100u);
  EXPECT_EQ(world.scheduler_->stats().preempted, 0);
}

// The same while others press: pages stay below their limit, nobody starves, levels come and go.
TEST(SchedulerSimulation, MemoryPressureChangesNoTextAndPasses) {
  std::map<uint32_t, Answer> alone;
  for (uint32_t kind = 1; kind <= 60; ++kind) alone[kind] = Alone(kind, {});
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    EngineOptions options{.context = 160, .kv_tokens = 250 * kPageTokens, .max_sequences = 8, .prompt_chunk = 64};
    options.prefix = PrefixReuse::kPrompts;
    Simulation simulation(seed, options, 250, alone);
    Pressure pressure(seed);
    simulation.Add(&pressure);
    ASSERT_NO_FATAL_FAILURE(simulation.Run(15'000));
    for (size_t level = 1; level < kMemoryLevels; ++level) {
      EXPECT_GT(pressure.state().entered[level], 0) << MemoryLevelName(static_cast<MemoryLevel>(level));
    }
    EXPECT_GT(simulation.finished(), 100);
    EXPECT_GT(simulation.stats().preempted, 10);
    EXPECT_GT(simulation.stats().given_back_pages, 100);
    EXPECT_LT(simulation.longest_wait(), 120);
    pressure.End();
    for (int i = 0; i < 200; ++i) simulation.Step();
    EXPECT_EQ(pressure.state().level, MemoryLevel::kNone);
    EXPECT_EQ(simulation.stats().kv_page_limit, 250);
  }
}

TEST(SchedulerSimulation, WithAWindowPagesAreBoundedAndTextsAreThoseOfRunsAlone) {
  constexpr int kSteps = 40'000;  // of each of three systems
  const AttentionWindow window = AttentionWindow::For(24, 8, kPageTokens);
  std::map<uint32_t, Answer> alone;
  for (uint32_t kind = 1; kind <= 150; ++kind) alone[kind] = Alone(kind, window);
  struct System {
    int64_t pages;
    int sequences;
    int64_t chunk;
  };
  uint32_t seed = 11;
  // The smallest has room for one sequence's window and no more.
  for (const System& system : {System{40, 8, 64}, System{9, 4, 32}, System{200, 16, 7}}) {
    EngineOptions options{.context = 160, .window = window, .max_sequences = system.sequences};
    options.prompt_chunk = system.chunk;
    options.kv_tokens = system.pages * kPageTokens;
    options.prefix = PrefixReuse::kPrompts;
    Simulation simulation(seed++, options, system.pages, alone);
    ASSERT_NO_FATAL_FAILURE(simulation.Run(kSteps));
    EXPECT_GT(simulation.finished(), kSteps / 500);
    EXPECT_GT(simulation.stats().cached_tokens, 0);
  }
}

// Sequences that hold more than memory: no page or slot is lost, whatever the disk does, and texts stay what they are.
TEST(SchedulerSimulation, SpilledSequencesHaveTheTextsOfRunsAlone) {
  constexpr int kSteps = 15'000;  // of each system
  std::map<uint32_t, Answer> alone;
  for (uint32_t kind = 1; kind <= 150; ++kind) alone[kind] = Alone(kind, {});
  struct System {
    int64_t pages;
    int64_t slots;
    int sequences;
    int64_t chunk;
    PrefixReuse prefix;
    FakeDisk disk;
  };
  const auto kOff = PrefixReuse::kOff, kPrompts = PrefixReuse::kPrompts;
  uint32_t seed = 21;
  for (const System& system :
       {System{20, 20, 4, 16, kOff, {}}, System{12, 40, 1, 16, kPrompts, {}}, System{24, 64, 8, 32, kPrompts, {}},
        System{20, 60, 4, 16, kPrompts, {{3, 17}}}, System{16, 64, 8, 32, kPrompts, {{}, 1500}}}) {
    EngineOptions options{.context = 160, .max_sequences = system.sequences, .prompt_chunk = system.chunk};
    options.kv_tokens = system.pages * kPageTokens;
    options.spill_tokens = system.slots * kPageTokens;
    options.prefix = system.prefix;
    Simulation simulation(seed++, options, system.pages, alone, system.disk);
    ASSERT_NO_FATAL_FAILURE(simulation.Run(kSteps));
    const SpillStats spill = simulation.stats().spill;
    EXPECT_GT(simulation.finished(), kSteps / 500);
    EXPECT_GT(spill.written, kSteps / 50);
    EXPECT_EQ(spill.pages, spill.idle_pages);
    EXPECT_EQ(spill.failed_reads > 0, !system.disk.bad_slots.empty());
    EXPECT_EQ(simulation.failed() > 0, !system.disk.bad_slots.empty() || system.disk.writes < kSteps);
    EXPECT_EQ(spill.trouble.empty(), system.disk.writes > kSteps);
  }
}

// The next question about a document that does not fit into memory, after others had their turn.
TEST(SchedulerTest, WhatLiesOnDiskIsFoundAgain) {
  EngineOptions options{.context = 160, .kv_tokens = 6 * kPageTokens, .max_sequences = 2, .prompt_chunk = 16};
  options.spill_tokens = 40 * kPageTokens;
  options.prefix = PrefixReuse::kPrompts;
  World world(options, 6);
  std::vector<int32_t> document = Tokens(120, 1);
  std::map<RequestId, Answer> answers;
  for (RequestId id = 1; id <= 6; ++id) {
    const bool other = id % 2 == 0;
    document.back() = static_cast<int32_t>(60 + id);
    GenerationRequest request{.prompt = other ? Tokens(30, 50 + static_cast<uint32_t>(id)) : document, .max_tokens = 6};
    request.sampling.seed = 1;
    const int64_t before = world.scheduler_->stats().cached_tokens;
    world.Add(id, request, Into(&answers[id]));
    for (int step = 0; step < 1000 && !world.scheduler_->idle(); ++step) {
      world.scheduler_->Step();
      ASSERT_NO_FATAL_FAILURE(world.CheckPages());
    }
    EXPECT_EQ(answers[id].tokens.size(), 6u) << id;
    // A part of a page on disk is computed again.
    const int64_t least = other || id == 1 ? 0 : 120 - 2 * kPageTokens;
    EXPECT_GE(world.scheduler_->stats().cached_tokens - before, least) << id;
  }
}

// What a disk does not return once is computed again, also where only the cache had it.
TEST(SchedulerTest, APageThatDoesNotComeBackOnceCostsTimeOnly) {
  EngineOptions options{.context = 160, .kv_tokens = 40 * kPageTokens, .max_sequences = 2, .prompt_chunk = 16};
  options.prefix = PrefixReuse::kPrompts;
  int64_t failed = 0;
  const auto answers = [&](int64_t pages, int64_t failing_read) {
    options.kv_tokens = pages * kPageTokens;
    options.spill_tokens = pages < 40 ? 40 * kPageTokens : 0;
    World world(options, pages, {{}, 1'000'000'000, failing_read});
    std::vector<Answer> seen(3);
    for (size_t i = 0; i < seen.size(); ++i) {
      GenerationRequest request{.prompt = Tokens(120, 1), .max_tokens = 6};
      request.sampling.seed = i;
      world.Add(i + 1, request, Into(&seen[i]));
      for (int step = 0; step < 1000 && !world.scheduler_->idle(); ++step) {
        world.scheduler_->Step();
        world.CheckPages();
      }
      EXPECT_EQ(seen[i].finish, FinishReason::kLength) << failing_read;
    }
    failed += world.scheduler_->stats().spill.failed_reads;
    return std::vector{seen[0].tokens, seen[1].tokens, seen[2].tokens};
  };
  const auto roomy = answers(40, -1);
  for (int64_t read = 0; read < 40; ++read) EXPECT_EQ(answers(6, read), roomy) << read;
  EXPECT_GT(failed, 5) << "reads ahead that fail are repeated";
}

// The same, answers used again: nothing leaks and everything ends. So it is with a window, and with pages on
// disk.
class AnswersUsedAgain : public ::testing::TestWithParam<std::tuple<bool, int>> {};

TEST_P(AnswersUsedAgain, KeepTheInvariants) {
  const auto [windowed, spilled_pages] = GetParam();
  const int64_t pages = spilled_pages == 0 ? 80 : 20;
  EngineOptions options{.context = 160, .kv_tokens = pages * kPageTokens, .max_sequences = 6, .prompt_chunk = 32};
  options.spill_tokens = spilled_pages * kPageTokens;
  if (windowed) options.window = AttentionWindow::For(spilled_pages > 0 ? 96 : 24, 8, kPageTokens);
  World world(options, pages);
  std::mt19937 random(3);
  std::map<RequestId, Answer> answers;
  std::vector<std::vector<int32_t>> conversations(8);
  for (RequestId id = 1; id < 3000; ++id) {
    auto& conversation = conversations[random() % conversations.size()];
    const std::vector<int32_t> question = Tokens(1 + random() % 10, static_cast<uint32_t>(id));
    if (conversation.size() + question.size() > 120) conversation.clear();
    conversation.insert(conversation.end(), question.begin(), question.end());
    GenerationRequest request{.prompt = conversation, .max_tokens = 10};
    request.sampling.seed = id;
    world.Add(id, request, Into(&answers[id]));
    for (int step = 0; step < 20; ++step) world.scheduler_->Step();
    ASSERT_NO_FATAL_FAILURE(world.CheckPages());
    conversation.insert(conversation.end(), answers[id].tokens.begin(), answers[id].tokens.end());
  }
  for (int step = 0; step < 100000 && !world.scheduler_->idle(); ++step) world.scheduler_->Step();
  for (const auto& [id, answer] : answers) EXPECT_TRUE(answer.finish) << id;
  EXPECT_GT(world.scheduler_->stats().cached_tokens, world.scheduler_->stats().prompt_tokens / (pages == 80 ? 3 : 10));
  EXPECT_EQ(world.scheduler_->stats().spill.written > 0, spilled_pages > 0);
}

INSTANTIATE_TEST_SUITE_P(SchedulerSimulation, AnswersUsedAgain,
                         ::testing::Values(std::tuple(false, 0), std::tuple(true, 0), std::tuple(false, 60),
                                           std::tuple(true, 60)));

double Percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

TEST(SchedulerTest, TokensKeepComingWhileALongPromptIsComputed) {
  World world({.context = 1024, .kv_tokens = 4096, .prompt_chunk = 512}, 1024);
  GenerationRequest decoding{.prompt = Tokens(5, 1), .max_tokens = 1000};
  decoding.sampling.seed = 1;
  decoding.ignore_eos = true;
  world.Add(1, decoding, [](GenerationEvent&&) {});
  world.scheduler_->Step();
  // Each step makes a token: the time between tokens is that of a step.
  const auto step = [&] {
    const Clock::time_point begin = world.now_;
    const int64_t before = world.scheduler_->stats().generated_tokens;
    world.scheduler_->Step();
    EXPECT_GT(world.scheduler_->stats().generated_tokens, before);
    return std::chrono::duration<double>(world.now_ - begin).count();
  };
  std::vector<double> quiet, beside;
  for (int i = 0; i < 50; ++i) quiet.push_back(step());
  bool prompt_done = false;
  GenerationRequest longer{.prompt = Tokens(900, 2), .max_tokens = 1};
  longer.sampling.seed = 2;
  world.Add(2, longer, [&](GenerationEvent&& event) { prompt_done |= event.finish.has_value(); });
  while (beside.size() < 800 && !prompt_done) beside.push_back(step());
  EXPECT_TRUE(prompt_done);
  EXPECT_GT(beside.size(), 20u);
  EXPECT_LT(Percentile(beside, 0.95), 1.5 * Percentile(quiet, 0.95));
}

TEST(SchedulerTest, ClientsTakeTurns) {
  World world({.context = 256, .kv_tokens = 1024, .max_sequences = 1, .prompt_chunk = 64}, 256);
  std::vector<std::string> order;
  for (RequestId id = 1; id <= 12; ++id) {
    GenerationRequest request{.prompt = Tokens(10, static_cast<uint32_t>(id)), .max_tokens = 3};
    request.sampling.seed = id;
    request.client = id <= 10 ? "many" : "few";
    world.Add(id, request, [&order, client = request.client](GenerationEvent&& event) {
      if (event.finish) order.push_back(client);
    });
  }
  while (!world.scheduler_->idle()) world.scheduler_->Step();
  EXPECT_EQ(order[1], "few");
  EXPECT_EQ(order[3], "few");
}

// Short prompts of a client pass its long one, which gets its turn all the same.
TEST(SchedulerTest, NobodyWaitsLongForOthersOfTheSameClient) {
  World world({.context = 1024, .kv_tokens = 4096, .max_sequences = 8, .prompt_chunk = 64}, 1024);
  RequestId next = 1;
  std::map<RequestId, Answer> answers;
  const auto add = [&](size_t tokens) {
    GenerationRequest request{.prompt = Tokens(tokens, static_cast<uint32_t>(next)), .max_tokens = 1};
    request.sampling.seed = next;
    world.Add(next, request, Into(&answers[next]));
    return next++;
  };
  const auto seconds = [&](RequestId id) {
    const Clock::time_point begin = world.now_;
    for (int step = 0; step < 10000 && !answers[id].finish; ++step) world.scheduler_->Step();
    EXPECT_TRUE(answers[id].finish);
    return std::chrono::duration<double>(world.now_ - begin).count();
  };
  const double long_alone = seconds(add(900)), short_alone = seconds(add(64));
  const RequestId longer = add(900);
  world.scheduler_->Step();
  EXPECT_LT(seconds(add(64)), 3 * short_alone);
  const Clock::time_point begin = world.now_;
  while (!answers[longer].finish && next < 1000) seconds(add(64));
  EXPECT_LT(std::chrono::duration<double>(world.now_ - begin).count(), 3 * long_alone);
}

TEST(SchedulerTest, PriorityGoesFirstAndPreempts) {
  World world({.context = 256, .kv_tokens = 1024, .max_sequences = 2, .prompt_chunk = 64}, 256);
  std::vector<RequestId> order;
  const auto add = [&](RequestId id, int priority, int64_t tokens) {
    GenerationRequest request{.prompt = Tokens(10, static_cast<uint32_t>(id)), .max_tokens = tokens};
    request.sampling.seed = id;
    request.ignore_eos = true;
    request.priority = priority;
    world.Add(id, request, [&order, id](GenerationEvent&& event) {
      if (event.finish) order.push_back(id);
    });
  };
  add(1, 0, 30);
  add(2, 0, 20);
  for (int i = 0; i < 5; ++i) world.scheduler_->Step();
  add(3, 0, 3);
  add(4, 5, 3);
  while (!world.scheduler_->idle()) world.scheduler_->Step();
  EXPECT_EQ(order.front(), 4u);
  EXPECT_EQ(world.scheduler_->stats().preempted, 1);
}

TEST(SchedulerTest, RequestsThatBeginAlikeShareTheWork) {
  World world({.context = 256, .kv_tokens = 4096, .max_sequences = 8, .prompt_chunk = 64}, 1024);
  int64_t cached = 0, ended = 0;
  for (RequestId id = 1; id <= 8; ++id) {  // as the n answers of one request
    GenerationRequest request{.prompt = Tokens(100, 1), .max_tokens = 5};
    request.sampling.seed = id;
    world.Add(id, request, [&](GenerationEvent&& event) {
      if (!event.finish) return;
      cached += event.usage.cached_tokens;
      ++ended;
    });
  }
  int64_t most_pages = 0;
  while (!world.scheduler_->idle()) {
    world.scheduler_->Step();
    most_pages = std::max(most_pages, world.scheduler_->stats().kv_pages_used);
  }
  EXPECT_EQ(ended, 8);
  EXPECT_GE(cached, 7 * 96);
  EXPECT_LT(most_pages, 25 + 8 * 4);
}

}  // namespace
}  // namespace inkstone

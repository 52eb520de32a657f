// What clients get of the engine beside others, and what they find out about them.
#include <gtest/gtest.h>

#include <string>

#include "engine/cache_domains.h"
#include "engine/queue_places.h"
#include "engine/scheduler_world.h"

namespace inkstone {
namespace {

GenerationRequest Ask(const std::string& origin, const std::string& client, uint32_t seed, size_t prompt_tokens,
                      int64_t max_tokens, int priority = 0) {
  GenerationRequest request{.prompt = Tokens(prompt_tokens, seed), .max_tokens = max_tokens};
  request.sampling.seed = seed;
  request.ignore_eos = true;
  request.priority = priority;
  request.origin = origin;
  request.client = client;
  return request;
}

void RunAll(World* world) {
  for (int step = 0; step < 100'000 && !world->scheduler_->idle(); ++step) world->scheduler_->Step();
  EXPECT_TRUE(world->scheduler_->idle());
}

// One address fills slots and queue, each request in another name and with the highest priority, and has waited long:
// a request from elsewhere runs two steps later, is answered soon, and nobody's text suffers.
TEST(Fairness, OneOriginDoesNotKeepAnotherWaiting) {
  World world({.context = 256, .kv_tokens = 1024, .max_sequences = 4, .prompt_chunk = 64}, 256);
  std::map<RequestId, Answer> answers;
  for (RequestId id = 1; id <= 40; ++id) {
    const auto seed = static_cast<uint32_t>(id);
    world.Add(id, Ask("greedy", "name " + std::to_string(id), seed, 20, 100, 100), Into(&answers[id]));
  }
  for (int step = 0; step < 20; ++step) world.scheduler_->Step();
  world.now_ += std::chrono::seconds(300);
  world.Add(100, Ask("other", "", 100, 30, 5), Into(&answers[100]));
  for (int step = 0; step < 2; ++step) world.scheduler_->Step();
  const auto& running = world.scheduler_->running();
  EXPECT_TRUE(std::ranges::any_of(running, [](const auto& s) { return s->id == 100; }));
  EXPECT_EQ(world.scheduler_->stats().preempted, 1);
  for (int step = 0; step < 10; ++step) world.scheduler_->Step();
  EXPECT_TRUE(answers[100].finish);
  RunAll(&world);
  for (RequestId id = 1; id <= 8; ++id) {
    World quiet({.context = 256, .kv_tokens = 1024, .max_sequences = 4, .prompt_chunk = 64}, 256);
    Answer alone;
    quiet.Add(1, Ask("", "", static_cast<uint32_t>(id), 20, 100), Into(&alone));
    RunAll(&quiet);
    EXPECT_EQ(answers[id].tokens, alone.tokens) << id;
  }
}

// Turns go by origin, whatever names one of them takes.
TEST(Fairness, NamesAreNoTurns) {
  World world({.context = 256, .kv_tokens = 1024, .max_sequences = 1, .prompt_chunk = 64}, 256);
  std::string order;
  for (RequestId id = 1; id <= 24; ++id) {
    const bool many = id <= 16;
    const std::string name = many ? "name " + std::to_string(id) : std::string();
    world.Add(id, Ask(many ? "many" : "one", name, static_cast<uint32_t>(id), 10, 3),
              [&order, many](GenerationEvent&& event) {
                if (event.finish) order += many ? 'm' : 'o';
              });
  }
  RunAll(&world);
  EXPECT_EQ(order.substr(0, 16).find("mmm"), std::string::npos) << order;
  EXPECT_EQ(std::ranges::count(order.substr(0, 16), 'o'), 8) << order;
}

std::vector<RequestId> OrderOfPriorities(bool allow_priority) {
  EngineOptions options{.context = 256, .kv_tokens = 1024, .max_sequences = 1, .prompt_chunk = 64};
  options.allow_priority = allow_priority;
  World world(options, 256);
  std::vector<RequestId> order;
  const auto add = [&](RequestId id, const char* client, int priority) {
    world.Add(id, Ask("address", client, static_cast<uint32_t>(id), 10, 3, priority),
              [&order, id](GenerationEvent&& event) {
                if (event.finish) order.push_back(id);
              });
  };
  add(1, "ada", 0);
  add(2, "ada", 0);
  add(3, "bob", 50);
  add(4, "bob", 100);
  RunAll(&world);
  return order;
}

TEST(Fairness, PriorityOrdersOnesOwnUnlessTheOperatorSaysMore) {
  EXPECT_EQ(OrderOfPriorities(false), (std::vector<RequestId>{1, 4, 2, 3}));
  EXPECT_EQ(OrderOfPriorities(true), (std::vector<RequestId>{4, 3, 1, 2}));
}

// A low priority waits for higher ones of its client, not for ever.
TEST(Fairness, ALowPriorityGetsItsTurn) {
  for (const bool allow_priority : {false, true}) {
    EngineOptions options{.context = 256, .kv_tokens = 1024, .max_sequences = 1, .prompt_chunk = 64};
    options.allow_priority = allow_priority;
    World world(options, 256);
    Answer low;
    std::map<RequestId, Answer> others;
    world.Add(1, Ask("a", "", 1, 10, 3, 0), Into(&others[1]));
    world.Add(2, Ask("a", "", 2, 10, 3, -2), Into(&low));
    RequestId id = 3;
    while (!low.finish && id < 1000) {
      world.Add(id, Ask("a", "", static_cast<uint32_t>(id), 10, 3, 0), Into(&others[id]));
      ++id;
      world.now_ += std::chrono::seconds(1);
      for (int step = 0; step < 4; ++step) world.scheduler_->Step();
    }
    EXPECT_GT(id, 6u);
    EXPECT_LT(id, 40u);
    RunAll(&world);
  }
}

TEST(QueuePlaces, OthersFindAPlaceWhateverOneTakes) {
  QueuePlaces places(8, 64);
  int64_t greedy = 0;
  while (greedy < 100 && places.Enter("greedy")) ++greedy;
  EXPECT_EQ(greedy, 56) << "one alone has all but a quarter of the queue";
  EXPECT_EQ(greedy, QueuePlaces::MostOfOne(8, 64));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(places.Enter("second")) << "several answers to one question";
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(places.Enter("other " + std::to_string(i)));
  while (places.Enter("second")) {
  }
  EXPECT_FALSE(places.full());
  EXPECT_TRUE(places.Enter("third"));
  places.Leave("greedy");
  EXPECT_FALSE(places.Enter("greedy"));
  EXPECT_EQ(places.TakenBy("greedy"), 55);
}

TEST(QueuePlaces, SmallQueuesServeOne) {
  for (const auto& [running, waiting, most] : {std::tuple(1, 1, 2), std::tuple(1, 0, 1), std::tuple(1, 4, 4)}) {
    QueuePlaces places(running, waiting);
    int64_t taken = 0;
    while (places.Enter("one")) ++taken;
    EXPECT_EQ(taken, most);
    EXPECT_EQ(places.Enter("other"), waiting > 1);
  }
  QueuePlaces all(2, 4);
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(all.Enter("")) << "nobody in particular, as in a program of one's own";
  EXPECT_TRUE(all.full());
}

// What a request found: tokens that needed no computation, and what the model computed for it.
struct Found {
  int64_t cached = -1;
  int64_t computed = 0;
};

class CacheDomainsTest : public ::testing::TestWithParam<PrefixShare> {
 protected:
  static EngineOptions Options(PrefixShare share) {
    EngineOptions options{.context = 256, .kv_tokens = 4096, .max_sequences = 8, .prompt_chunk = 64};
    options.share = share;
    return options;
  }
  Found Answered(const std::string& origin, const std::string& client, const std::vector<int32_t>& prompt,
                 int64_t shared_tokens = 0) {
    Found found;
    GenerationRequest request = Ask(origin, client, 1, 1, 1);
    request.prompt = prompt;
    request.shared_tokens = shared_tokens;
    const auto step = world_.now_;
    world_.Add(next_++, request, [&](GenerationEvent&& event) {
      if (event.finish) found.cached = event.usage.cached_tokens;
    });
    RunAll(&world_);
    found.computed = (world_.now_ - step) / microseconds(1);
    return found;
  }

  World world_{Options(GetParam()), 1024};
  RequestId next_ = 1;
};

// A stranger who guesses a text token by token learns nothing, by counts or by time.
TEST_P(CacheDomainsTest, AStrangerFindsNothingOfWhatOneWrote) {
  std::vector<int32_t> secret = Tokens(42, 7);
  const int64_t cold = Answered("ada", "", Tokens(42, 8)).computed;
  EXPECT_EQ(Answered("ada", "", secret).cached, 0);
  EXPECT_EQ(Answered("ada", "", secret).cached, 40) << "her own, told in whole pages";
  for (const auto& [origin, client] : {std::pair("eve", ""), std::pair("ada", "a name of hers")}) {
    const Found guess = Answered(origin, client, secret);
    if (GetParam() == PrefixShare::kAll) {
      EXPECT_EQ(guess.cached, 40);
    } else {
      EXPECT_EQ(guess.cached, 0) << origin;
      EXPECT_EQ(guess.computed, cold) << origin;
    }
  }
}

// Nor by waiting: a prompt that begins alike waits for another's computation only where it may have the pages.
TEST_P(CacheDomainsTest, NobodyWaitsForAStrangersPrompt) {
  std::vector<int64_t> cached;
  for (const char* origin : {"ada", "eve", "ada"}) {
    GenerationRequest request = Ask(origin, "", 1, 200, 1);
    world_.Add(next_++, request, [&](GenerationEvent&& event) {
      if (event.finish) cached.push_back(event.usage.cached_tokens);
    });
  }
  world_.scheduler_->Step();
  EXPECT_EQ(world_.scheduler_->running().size(), GetParam() == PrefixShare::kAll ? 1u : 2u);
  RunAll(&world_);
  std::ranges::sort(cached);
  const int64_t shared = cached[1];
  EXPECT_EQ(cached[0], 0);
  EXPECT_EQ(shared, GetParam() == PrefixShare::kAll ? 196 : 0);
  EXPECT_EQ(cached[2], 196) << "the answers of one client share their prompt";
}

// A system text becomes everybody's when several have come with it; what follows it never does.
TEST_P(CacheDomainsTest, ASystemTextOfSeveralIsShared) {
  const std::vector<int32_t> text = Tokens(42, 7);
  const auto ask = [&](const std::string& origin, uint32_t seed) {
    std::vector<int32_t> prompt = text;
    const auto question = Tokens(20, seed);
    prompt.insert(prompt.end(), question.begin(), question.end());
    return Answered(origin, "", prompt, 42).cached;
  };
  ask("one", 100);
  const bool all = GetParam() == PrefixShare::kAll, system = GetParam() == PrefixShare::kSystem;
  EXPECT_EQ(ask("two", 100) > 0, all);
  EXPECT_EQ(ask("one", 101), 40) << "one's own";
  ask("three", 102);
  EXPECT_EQ(ask("four", 100), all ? 60 : system ? 40 : 0);
  EXPECT_EQ(ask("one", 101), 60) << "who had pages before goes on with them";
}

// Names of one origin do not make a text everybody's, only that origin's.
TEST_P(CacheDomainsTest, NamesMakeATextTheirOriginsOnly) {
  if (GetParam() != PrefixShare::kSystem) return;
  const std::vector<int32_t> text = Tokens(60, 9);
  for (int i = 0; i < 4; ++i) Answered("proxy", "user " + std::to_string(i), text, 44);
  EXPECT_EQ(Answered("proxy", "another user", text, 44).cached, 44);
  EXPECT_EQ(Answered("eve", "", text, 44).cached, 0);
  EXPECT_EQ(Answered("proxy", "one more", text, 41).cached, 0) << "another text, of which too few know";
}

INSTANTIATE_TEST_SUITE_P(Shares, CacheDomainsTest,
                         ::testing::Values(PrefixShare::kAll, PrefixShare::kSystem, PrefixShare::kClient));

TEST(TextUsers, IsBoundedAndKeepsWhatSeveralShare) {
  TextUsers users;
  const PageKey text = RootKey("text");
  EXPECT_FALSE(users.Note(text, RootKey("a")));
  EXPECT_FALSE(users.Note(text, RootKey("a")));
  EXPECT_FALSE(users.Note(text, RootKey("b")));
  EXPECT_TRUE(users.Note(text, RootKey("c")));
  const PageKey early = RootKey("early");
  users.Note(early, RootKey("a"));
  users.Note(early, RootKey("b"));
  for (size_t i = 0; i < TextUsers::kMostTexts + 1; ++i) users.Note(RootKey(std::to_string(i)), RootKey("flood"));
  EXPECT_TRUE(users.Note(text, RootKey("d"))) << "one user's many texts do not drive it out";
  EXPECT_FALSE(users.Note(early, RootKey("c"))) << "forgotten";
}

}  // namespace
}  // namespace inkstone

#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "backends/cpu/cpu_backend.h"
#include "engine/fake_model.h"

namespace inkstone {
namespace {

using ::testing::HasSubstr;

// What a caller sees of one request.
struct Seen {
  std::string text;
  std::vector<GeneratedToken> tokens;
  std::vector<int64_t> progress;
  GenerationEvent last;
  bool finished = false;

  std::vector<int32_t> ids() const {
    std::vector<int32_t> out;
    for (const GeneratedToken& t : tokens) out.push_back(t.token);
    return out;
  }
};

// Collects events from the engine thread.
class Recorder {
 public:
  EventSink Sink(int key) {
    return [this, key](GenerationEvent&& event) {
      const std::lock_guard lock(mutex_);
      Seen& seen = seen_[key];
      EXPECT_FALSE(seen.finished) << "an event after the last one";
      seen.text += event.text;
      seen.tokens.insert(seen.tokens.end(), event.tokens.begin(), event.tokens.end());
      seen.progress.push_back(event.prefilled_tokens);
      seen.finished = event.finish.has_value();
      seen.last = std::move(event);
      changed_.notify_all();
    };
  }
  Seen Wait(int key) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return seen_[key].finished; }));
    return seen_[key];
  }
  void WaitForEvent(int key) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return !seen_[key].progress.empty(); }));
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, Seen> seen_;
};

// Holds the engine thread before a step until opened.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void WaitUntilReached() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

class EngineTest : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> MakeEngine(EngineOptions options, FakeModel::Behaviour behaviour = {}) {
    options.kv_types = {DType::kF32, DType::kF32};
    ModelLimits limits;
    limits.max_step_rows = 512;
    limits.max_logit_rows = 16;
    limits.max_context = 1024;
    limits.page_tokens = 4;
    auto engine =
        Engine::Create(std::make_unique<FakeModel>(limits, std::move(behaviour)), *backend_, *tokenizer_, options);
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    return std::move(engine).value();
  }
  Seen Generate(Engine& engine, GenerationRequest request) {
    Recorder recorder;
    const auto id = engine.Submit(std::move(request), recorder.Sink(0));
    EXPECT_TRUE(id.ok()) << id.status().message();
    return id.ok() ? recorder.Wait(0) : Seen();
  }
  void WaitUntilIdle(const Engine& engine) {
    for (int i = 0; i < 60000 && !engine.Idle(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(engine.Idle());
    EXPECT_EQ(engine.stats().kv_pages_used, 0);
  }

  ThreadPool threads_{1};
  std::unique_ptr<Backend> backend_ = MakeCpuBackend(*AvailableKernels({}).front(), &threads_);
  std::unique_ptr<Tokenizer> tokenizer_ = MakeByteTokenizer();
};

constexpr EngineOptions kRoomy{.context = 256, .kv_tokens = 4096, .prompt_chunk = 64};

std::vector<int32_t> Prompt(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> prompt(size);
  for (int32_t& token : prompt) token = static_cast<int32_t>(random() % 256);
  return prompt;
}

GenerationRequest Request(size_t prompt, uint32_t seed, int64_t max_tokens) {
  GenerationRequest request{.prompt = Prompt(prompt, seed), .max_tokens = max_tokens};
  request.sampling.temperature = seed % 3 == 0 ? 0.0f : 0.8f;
  request.sampling.seed = seed;
  return request;
}

TEST_F(EngineTest, GeneratesTextAndUsage) {
  const auto engine = MakeEngine(kRoomy, {.eos_logit = -50});
  const Seen seen = Generate(*engine, Request(10, 3, 20));
  EXPECT_EQ(seen.last.finish, FinishReason::kLength);
  EXPECT_EQ(seen.tokens.size(), 20u);
  EXPECT_EQ(seen.last.usage.prompt_tokens, 10);
  EXPECT_EQ(seen.last.usage.generated_tokens, 20);
  EXPECT_EQ(seen.last.usage.cached_tokens, 0);
  EXPECT_GE(seen.last.usage.queue_seconds, 0);
  EXPECT_GT(seen.last.usage.prefill_seconds, 0);
  EXPECT_GT(seen.last.usage.decode_seconds, 0);
  EXPECT_EQ(seen.text, tokenizer_->Decode(seen.ids(), true));
  WaitUntilIdle(*engine);
  EXPECT_EQ(engine->stats().requests, 1);
  EXPECT_EQ(engine->stats().prompt_tokens, 10);
  EXPECT_EQ(engine->stats().generated_tokens, 20);
}

TEST_F(EngineTest, RowsWithoutATokenAreNeverDrawn) {
  const auto engine = MakeEngine(kRoomy, {.eos_logit = -50});
  for (const int32_t id : Generate(*engine, Request(5, 6, 100)).ids()) EXPECT_LT(id, tokenizer_->vocab_size());
}

TEST_F(EngineTest, AStopTokenEndsTheAnswerUnlessIgnored) {
  const auto engine = MakeEngine(kRoomy, {.eos_logit = 10});
  Seen seen = Generate(*engine, Request(5, 3, 20));
  EXPECT_EQ(seen.last.finish, FinishReason::kStop);
  EXPECT_TRUE(seen.text.empty());
  EXPECT_TRUE(seen.tokens.empty());
  EXPECT_TRUE(seen.last.stop_string.empty());
  EXPECT_EQ(seen.last.usage.generated_tokens, 1);
  GenerationRequest request = Request(5, 3, 4);
  request.ignore_eos = true;
  seen = Generate(*engine, request);
  EXPECT_EQ(seen.last.finish, FinishReason::kLength);
  EXPECT_EQ(seen.ids(), std::vector<int32_t>(4, kFakeEos));
  EXPECT_EQ(seen.text, "");
  request.keep_special = true;
  EXPECT_EQ(Generate(*engine, request).text, "<|end|><|end|><|end|><|end|>");
}

TEST_F(EngineTest, NothingEndsAnAnswerBeforeItsLeastTokens) {
  const auto engine = MakeEngine(kRoomy, {.eos_logit = 10});
  GenerationRequest request = Request(5, 3, 20);
  request.min_tokens = 4;
  Seen seen = Generate(*engine, request);
  EXPECT_EQ(seen.last.finish, FinishReason::kStop);
  EXPECT_EQ(seen.last.usage.generated_tokens, 5);
  request.stop = {seen.text.substr(0, 1)};
  EXPECT_EQ(Generate(*engine, request).text, seen.text);
  request.min_tokens = 21;
  EXPECT_EQ(engine->Submit(request, [](GenerationEvent&&) {}).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(EngineTest, ARequestsOwnStopTokensEndItsAnswer) {
  const auto engine = MakeEngine(kRoomy, {.eos_logit = -50});
  const Seen whole = Generate(*engine, Request(7, 9, 20));
  GenerationRequest request = Request(7, 9, 20);
  request.stop_tokens = {whole.ids()[6]};
  request.ignore_eos = true;
  const Seen seen = Generate(*engine, request);
  const auto ids = whole.ids();
  const auto first = std::find(ids.begin(), ids.end(), ids[6]);
  EXPECT_EQ(seen.ids(), std::vector<int32_t>(ids.begin(), first));
  EXPECT_EQ(seen.last.finish, FinishReason::kStop);
}

TEST_F(EngineTest, StopStringsCutTheTextForEveryPlaceInIt) {
  const auto engine = MakeEngine(kRoomy, {.eos_logit = -50});
  const Seen whole = Generate(*engine, Request(7, 9, 60));
  for (size_t at = 0; at + 3 < whole.text.size(); at += 5) {
    if ((static_cast<unsigned char>(whole.text[at]) & 0xc0u) == 0x80u) continue;
    GenerationRequest request = Request(7, 9, 60);
    request.stop = {"never there", whole.text.substr(at, 3)};
    const Seen seen = Generate(*engine, request);
    EXPECT_EQ(seen.last.finish, FinishReason::kStop);
    EXPECT_EQ(seen.last.stop_string, request.stop[1]);
    EXPECT_EQ(seen.text, whole.text.substr(0, whole.text.find(request.stop[1])));
    EXPECT_LE(seen.tokens.size(), whole.tokens.size());
  }
}

TEST_F(EngineTest, AFullContextEndsTheAnswer) {
  const auto engine = MakeEngine({.context = 16, .kv_tokens = 16, .prompt_chunk = 64}, {.eos_logit = -50});
  Seen seen = Generate(*engine, Request(10, 3, -1));
  EXPECT_EQ(seen.last.finish, FinishReason::kLength);
  EXPECT_EQ(seen.last.usage.generated_tokens, 6);
  seen = Generate(*engine, Request(15, 3, -1));
  EXPECT_EQ(seen.last.usage.generated_tokens, 1);
  seen = Generate(*engine, Request(15, 3, 0));
  EXPECT_EQ(seen.last.finish, FinishReason::kLength);
  EXPECT_EQ(seen.last.usage.generated_tokens, 0);
}

TEST_F(EngineTest, ProgressOfALongPromptIsReported) {
  EngineOptions options = kRoomy;
  options.prompt_chunk = 8;
  const auto engine = MakeEngine(options);
  const Seen seen = Generate(*engine, Request(20, 3, 1));
  EXPECT_THAT(seen.progress, ::testing::ElementsAre(8, 16, 20));
}

TEST_F(EngineTest, LogprobsComeWithTheTokens) {
  const auto engine = MakeEngine(kRoomy, {.eos_logit = -50});
  GenerationRequest request = Request(6, 3, 5);
  request.top_logprobs = 3;
  const Seen seen = Generate(*engine, request);
  ASSERT_EQ(seen.tokens.size(), 5u);
  for (const GeneratedToken& token : seen.tokens) {
    ASSERT_EQ(token.top.size(), 3u);
    EXPECT_EQ(token.top[0].token, token.token) << "greedy";
    EXPECT_EQ(token.top[0].logprob, token.logprob);
    EXPECT_LT(token.logprob, 0);
  }
}

// The heart of it: whatever runs beside a request, however its prompt is cut and however often it loses its pages, its
// tokens are those of a run alone.
TEST_F(EngineTest, TextsDoNotDependOnNeighboursChunksOrPreemption) {
  constexpr int kRequests = 24;
  const auto request = [](int i) {
    return Request(1 + static_cast<size_t>(i * 7 % 40), static_cast<uint32_t>(i), 5 + i * 5 % 50);
  };
  std::map<int, Seen> alone;
  {
    const auto engine = MakeEngine(kRoomy);
    for (int i = 0; i < kRequests; ++i) alone[i] = Generate(*engine, request(i));
  }
  int64_t preempted = 0;
  for (const auto& [sequences, chunk, kv_tokens] :
       {std::tuple{8, 64, 4096}, {8, 5, 4096}, {3, 1, 4096}, {8, 64, 256}, {8, 9, 256}, {16, 3, 256}, {2, 16, 260}}) {
    const auto engine =
        MakeEngine({.context = 256, .kv_tokens = kv_tokens, .max_sequences = sequences, .prompt_chunk = chunk});
    Recorder recorder;
    for (int i = 0; i < kRequests; ++i) ASSERT_TRUE(engine->Submit(request(i), recorder.Sink(i)).ok());
    for (int i = 0; i < kRequests; ++i) {
      const Seen seen = recorder.Wait(i);
      ASSERT_EQ(seen.ids(), alone[i].ids()) << "request " << i << ", chunk " << chunk << ", kv " << kv_tokens;
      ASSERT_EQ(seen.text, alone[i].text);
      ASSERT_EQ(seen.last.finish, alone[i].last.finish);
    }
    WaitUntilIdle(*engine);
    preempted += engine->stats().preempted;
  }
  EXPECT_GT(preempted, 10) << "the small pools are meant to force preemption";
}

TEST_F(EngineTest, RequestsAreServedInOrder) {
  EngineOptions options = kRoomy;
  options.max_sequences = 1;
  const auto engine = MakeEngine(options);
  std::mutex mutex;
  std::vector<int> order;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(engine
                    ->Submit(Request(5, static_cast<uint32_t>(i), 3),
                             [&mutex, &order, i](GenerationEvent&& event) {
                               const std::lock_guard lock(mutex);
                               if (event.finish) order.push_back(i);
                             })
                    .ok());
  }
  WaitUntilIdle(*engine);
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
}

TEST_F(EngineTest, AFullQueueRefusesAndAFinishedRequestMakesRoom) {
  Gate gate;
  Recorder recorder;
  const auto engine = MakeEngine({.context = 64, .kv_tokens = 64, .max_sequences = 1, .max_queue = 1},
                                 {.before_step = [&gate](auto) { gate.Pass(); }});
  ASSERT_TRUE(engine->Submit(Request(4, 1, 2), recorder.Sink(0)).ok());
  ASSERT_TRUE(engine->Submit(Request(4, 2, 2), recorder.Sink(1)).ok());
  const Status refused = engine->Submit(Request(4, 3, 2), recorder.Sink(2)).status();
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(refused.message(), HasSubstr("queue is full"));
  EXPECT_EQ(engine->stats().rejected, 1);
  gate.Open();
  recorder.Wait(0);
  EXPECT_TRUE(engine->Submit(Request(4, 3, 2), recorder.Sink(3)).ok());
  recorder.Wait(1);
  recorder.Wait(3);
}

TEST_F(EngineTest, DrainLetsAcceptedRequestsFinish) {
  Gate gate;
  Recorder recorder;
  const auto engine = MakeEngine(kRoomy, {.before_step = [&gate](auto) { gate.Pass(); }});
  EXPECT_TRUE(engine->Idle());
  ASSERT_TRUE(engine->Submit(Request(4, 1, 5), recorder.Sink(0)).ok());
  engine->Drain();
  EXPECT_EQ(engine->Submit(Request(4, 1, 5), recorder.Sink(1)).status().code(), StatusCode::kUnavailable);
  EXPECT_FALSE(engine->Idle());
  gate.Open();
  WaitUntilIdle(*engine);
  EXPECT_NE(recorder.Wait(0).last.finish, FinishReason::kCancelled);
}

TEST_F(EngineTest, CancelFreesPagesOfRunningAndWaitingRequests) {
  Gate gate;
  Recorder recorder;
  EngineOptions options = kRoomy;
  options.max_sequences = 1;
  const auto engine = MakeEngine(options, {.before_step = [&gate](auto) { gate.Pass(); }, .eos_logit = -50});
  const RequestId running = *engine->Submit(Request(4, 1, -1), recorder.Sink(0));
  const RequestId waiting = *engine->Submit(Request(4, 2, -1), recorder.Sink(1));
  gate.WaitUntilReached();
  engine->Cancel(running);
  engine->Cancel(waiting);
  engine->Cancel(waiting);
  engine->Cancel(12345);
  gate.Open();
  EXPECT_EQ(recorder.Wait(0).last.finish, FinishReason::kCancelled);
  EXPECT_LE(recorder.Wait(0).last.usage.generated_tokens, 1);
  EXPECT_EQ(recorder.Wait(1).last.finish, FinishReason::kCancelled);
  WaitUntilIdle(*engine);
  EXPECT_EQ(engine->stats().cancelled, 2);
}

TEST_F(EngineTest, ADeadlineEndsRunningAndWaitingRequests) {
  Gate gate;
  Recorder recorder;
  EngineOptions options = kRoomy;
  options.max_sequences = 1;
  const auto engine = MakeEngine(options, {.before_step = [&gate](auto) { gate.Pass(); }, .eos_logit = -50});
  const auto submit = [&](int key, int64_t max_tokens, std::optional<std::chrono::milliseconds> deadline) {
    GenerationRequest request = Request(4, static_cast<uint32_t>(key), max_tokens);
    request.deadline = deadline;
    ASSERT_TRUE(engine->Submit(std::move(request), recorder.Sink(key)).ok());
  };
  submit(0, -1, std::chrono::milliseconds(300));
  submit(1, 2, std::chrono::milliseconds(300));
  submit(2, 2, std::chrono::hours(1));
  gate.WaitUntilReached();
  std::this_thread::sleep_for(std::chrono::milliseconds(310));
  gate.Open();
  const Seen running = recorder.Wait(0);
  EXPECT_EQ(running.last.finish, FinishReason::kError);
  EXPECT_EQ(running.last.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(running.last.status.message(), HasSubstr("deadline of 300 ms passed; tokens of the answer so far: 0"));
  EXPECT_EQ(running.last.usage.generated_tokens, 0);
  const Seen waiting = recorder.Wait(1);
  EXPECT_EQ(waiting.last.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(waiting.last.status.message(), HasSubstr("waited in the queue"));
  EXPECT_EQ(recorder.Wait(2).last.finish, FinishReason::kLength);
  WaitUntilIdle(*engine);
  EXPECT_EQ(engine->stats().failed, 2);
}

TEST_F(EngineTest, SurvivesSubmitAndCancelStorms) {
  const auto engine =
      MakeEngine({.context = 128, .kv_tokens = 160, .max_sequences = 6, .max_queue = 8, .prompt_chunk = 16});
  Recorder recorder;
  std::mutex mutex;
  std::vector<int> accepted;
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&, client] {
      std::mt19937 random(static_cast<uint32_t>(client));
      for (int i = 0; i < 60; ++i) {
        const int key = client * 1000 + i;
        const auto id = engine->Submit(Request(1 + random() % 60, random(), 1 + random() % 60), recorder.Sink(key));
        if (!id.ok()) {
          EXPECT_EQ(id.status().code(), StatusCode::kResourceExhausted);
          std::this_thread::yield();
          continue;
        }
        {
          const std::lock_guard lock(mutex);
          accepted.push_back(key);
        }
        if (random() % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 500));
        if (random() % 3 != 0) engine->Cancel(*id);
        (void)engine->stats();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  for (const int key : accepted) EXPECT_TRUE(recorder.Wait(key).finished);
  WaitUntilIdle(*engine);
  EXPECT_EQ(engine->stats().requests, static_cast<int64_t>(accepted.size()));
  EXPECT_EQ(engine->stats().failed, 0);
}

TEST_F(EngineTest, AFailedStepEndsItsRequestsAndTheEngineLivesOn) {
  const auto engine = MakeEngine(kRoomy, {.failing_token = 200, .nan_token = 201});
  GenerationRequest request = Request(3, 3, 5);
  request.prompt = {1, 200};
  Seen seen = Generate(*engine, request);
  EXPECT_EQ(seen.last.finish, FinishReason::kError);
  EXPECT_EQ(seen.last.status.message(), "failing token");
  request.prompt = {1, 201};
  seen = Generate(*engine, request);
  EXPECT_EQ(seen.last.finish, FinishReason::kError);
  EXPECT_THAT(seen.last.status.message(), HasSubstr("not a number"));
  request.prompt = {1, 2};
  request.max_tokens = 1;
  EXPECT_NE(Generate(*engine, request).last.finish, FinishReason::kError);
  WaitUntilIdle(*engine);
  EXPECT_EQ(engine->stats().failed, 2);
}

TEST_F(EngineTest, DestructionCancelsWhatRuns) {
  Recorder recorder;
  auto engine = MakeEngine({.context = 1024, .kv_tokens = 1024, .max_sequences = 2}, {.eos_logit = -50});
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine->Submit(Request(4, 1, -1), recorder.Sink(i)).ok());
  recorder.WaitForEvent(0);
  engine.reset();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(recorder.Wait(i).finished);
}

TEST_F(EngineTest, WrongRequestsAreRefusedWithTheirNumbers) {
  const auto engine = MakeEngine({.context = 64, .kv_tokens = 64});
  const auto refuses = [&](const GenerationRequest& request, const char* words) {
    const Status status = engine->Submit(request, [](GenerationEvent&&) {}).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << words;
    EXPECT_THAT(status.message(), HasSubstr(words));
  };
  refuses({}, "prompt is empty");
  refuses({.prompt = Prompt(64, 1)}, "64 tokens, the context holds 64");
  refuses({.prompt = {kFakeModelVocab}}, "found 260");
  refuses({.prompt = {-1}}, "found -1");
  refuses({.prompt = {1}, .max_tokens = -2}, "max_tokens");
  refuses({.prompt = {1}, .stop = {""}}, "stop");
  refuses({.prompt = {1}, .top_logprobs = 21}, "top_logprobs");
  refuses({.prompt = {1}, .sampling = {.top_p = 2}}, "top_p");
  refuses({.prompt = {1}, .priority = 101}, "priority must be -100 to 100");
  refuses({.prompt = {1}, .deadline = std::chrono::milliseconds(0)}, "deadline");
}

TEST_F(EngineTest, WrongOptionsAreRefused) {
  const auto refuses = [&](EngineOptions options) {
    options.kv_types = {DType::kF32, DType::kF32};
    const auto engine = Engine::Create(
        std::make_unique<FakeModel>(ModelLimits{.max_step_rows = 64, .max_sequences = 4}, FakeModel::Behaviour()),
        *backend_, *tokenizer_, options);
    EXPECT_EQ(engine.status().code(), StatusCode::kInvalidArgument);
  };
  refuses({.context = 1, .max_sequences = 4, .prompt_chunk = 64});
  refuses({.context = 100, .kv_tokens = 99, .max_sequences = 4, .prompt_chunk = 64});
  refuses({.max_sequences = 5, .prompt_chunk = 64});
  refuses({.max_sequences = 0, .prompt_chunk = 64});
  refuses({.max_sequences = 4, .prompt_chunk = 65});
  refuses({.max_sequences = 4, .prompt_chunk = 0});
  refuses({.max_sequences = 4, .prompt_chunk = 64, .prefill_share = 1});
}

}  // namespace
}  // namespace inkstone

// For tests: what an engine with the test model and the real kernels answers.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "model/runtime.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {

constexpr const char* kTinyModel = INKSTONE_SOURCE_DIR "/tests/data/tiny-qwen3";

inline std::vector<int32_t> SomeTokens(int64_t size) {
  std::vector<int32_t> tokens(static_cast<size_t>(size));
  uint32_t state = 7;
  for (int32_t& token : tokens) token = static_cast<int32_t>((state = state * 1664525u + 1013904223u) >> 20);
  return tokens;
}

struct TinyAnswers {
  std::vector<std::string> texts;
  std::vector<Status> statuses;
  EngineStats stats;
};

// Prompts of these lengths, asked at once, 60 tokens for each: the first greedy, the others drawn with a seed. One
// thread.
inline TinyAnswers AnswersOfTinyModel(const EngineOptions& options, const std::vector<int64_t>& prompts,
                                      std::unique_ptr<SpillDevice> spill = nullptr) {
  const auto runtime = std::move(Runtime::Create({.threads = 1})).value();
  ModelLimits limits;
  limits.max_context = options.context;
  limits.max_step_rows = options.prompt_chunk;
  auto loaded = std::move(LoadModel(kTinyModel, *runtime, limits)).value();
  const auto tokenizer = std::move(Tokenizer::Load(*loaded.checkpoint)).value();
  const auto engine = std::move(Engine::Create(std::move(loaded.model), *loaded.backend, *tokenizer, options,
                                               {nullptr, std::move(spill)}))
                          .value();
  TinyAnswers answers{std::vector<std::string>(prompts.size()), std::vector<Status>(prompts.size()), {}};
  std::vector<std::promise<void>> done(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    GenerationRequest request{.prompt = SomeTokens(prompts[i]), .max_tokens = 60, .ignore_eos = true};
    request.prompt.push_back(static_cast<int32_t>(i));
    request.sampling.temperature = i == 0 ? 0.0f : 1.0f;
    request.sampling.seed = i;
    EXPECT_TRUE(engine
                    ->Submit(std::move(request),
                             [&, i](GenerationEvent&& event) {
                               answers.texts[i] += event.text;
                               answers.statuses[i] = event.status;
                               if (event.finish) done[i].set_value();
                             })
                    .ok());
  }
  for (auto& d : done) d.get_future().wait();
  while (!engine->Idle()) std::this_thread::yield();  // the last step is not over when its events are out
  answers.stats = engine->stats();
  return answers;
}

}  // namespace inkstone

#include "planner/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace inkstone {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kGB = 1'000'000'000;
constexpr KvTypes kF32{DType::kF32, DType::kF32};
constexpr KvTypes kF16{DType::kF16, DType::kF16};
constexpr KvTypes kQ8{DType::kQ8_0, DType::kQ8_0};

// Qwen3-4B in 16 bits: 147,456 bytes of KV for each token.
MemoryFacts Qwen4B() {
  MemoryFacts facts;
  facts.weight_bytes = 8'050'000'000;
  facts.parameters = 4'020'000'000;
  facts.kv = {36, 8, 128, kF16, 32};
  facts.trained_context = 40960;
  facts.activation_bytes = 100'000'000;
  facts.runtime_bytes = 150'000'000;
  facts.available = 24 * kGB;
  return facts;
}

TEST(MemoryPlan, EveryByteIsCounted) {
  const auto plan = PlanMemory(Qwen4B(), {.context = 4096});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->context, 4096);
  EXPECT_EQ(plan->kv_tokens, 4096);
  EXPECT_EQ(plan->kv_bytes, 4096u * 147'456u);
  EXPECT_EQ(plan->total(), 8'050'000'000u + 4096u * 147'456u + 250'000'000u);
}

TEST(MemoryPlan, AutomaticContextIsAtMost8192AndTheModelsOwn) {
  MemoryFacts facts = Qwen4B();
  EXPECT_EQ(PlanMemory(facts, {})->context, 8192);
  facts.trained_context = 2048;
  EXPECT_EQ(PlanMemory(facts, {})->context, 2048);
  facts.trained_context = 100;  // whole pages below it
  EXPECT_EQ(PlanMemory(facts, {})->context, 96);
}

TEST(MemoryPlan, TheLongestContextIsWhatFitsUpToTheModelsOwn) {
  MemoryFacts facts = Qwen4B();
  EXPECT_EQ(PlanMemory(facts, {.context = kLongestContext})->context, 40960);
  facts.available = facts.weight_bytes + facts.activation_bytes + facts.runtime_bytes + 20'000 * 147'456ull;
  EXPECT_EQ(PlanMemory(facts, {.context = kLongestContext})->context, 20'000);
  EXPECT_EQ(PlanMemory(facts, {.context = -2}).status().code(), StatusCode::kInvalidArgument);
}

TEST(MemoryPlan, AWindowBoundsTheCacheOfAnyContext) {
  MemoryFacts facts = Qwen4B();
  const auto window = AttentionWindow::For(2048, 32, 32);
  const auto plan = PlanMemory(facts, {.context = kLongestContext, .window = window});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->context, 40960);
  EXPECT_EQ(plan->kv_tokens, 32 + 2048 + 256);
  EXPECT_EQ(plan->kv_bytes, 2336u * 147'456u);
  EXPECT_EQ(PlanMemory(facts, {.context = 1024, .window = window})->kv_tokens, 1024);
  EXPECT_EQ(PlanMemory(facts, {.context = 8192, .max_sequences = 4, .window = window})->kv_tokens, 4 * 2336);
  // Less than the window needs: the context shrinks as without one.
  facts.available = facts.weight_bytes + facts.activation_bytes + facts.runtime_bytes + 2000 * 147'456ull;
  EXPECT_EQ(PlanMemory(facts, {.window = window})->context, 1984);
  // What is refused says which window would do.
  const Status refused = PlanMemory(facts, {.context = 8192}).status();
  EXPECT_THAT(refused.message(), HasSubstr("(--attention-window 1728)"));
  EXPECT_TRUE(PlanMemory(facts, {.context = 8192, .window = AttentionWindow::For(1728, 32, 32)}).ok());
  EXPECT_FALSE(PlanMemory(facts, {.context = 8192, .window = AttentionWindow::For(1760, 32, 32)}).ok());
}

TEST(MemoryPlan, WhatHasNoRoomInMemoryGoesToDiskWithTwoBuffers) {
  MemoryFacts facts = Qwen4B();
  const uint64_t fixed = facts.weight_bytes + facts.activation_bytes + facts.runtime_bytes;
  facts.available = fixed + 3 * kGB;
  const MemoryWishes wishes{.context = 40960, .spill_bytes = 10 * kGB};
  const auto plan = PlanMemory(facts, wishes);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->context, 40960);
  EXPECT_EQ(plan->kv_tokens + plan->spill_tokens, 40960);
  EXPECT_LE(plan->total(), facts.available);
  EXPECT_GT(plan->total(), facts.available - 2 * facts.kv.page_bytes()) << "memory is used";
  EXPECT_EQ(plan->kv_bytes, static_cast<uint64_t>(plan->kv_tokens) * 147'456u);
  EXPECT_EQ(plan->spill_bytes, static_cast<uint64_t>(plan->spill_tokens) * 147'456u);
  EXPECT_EQ(plan->spill_buffer_bytes, 2 * plan->spill_bytes / 36);
  const std::string report = plan->Report();
  EXPECT_THAT(report, HasSubstr("KV cache, resident, " + std::to_string(plan->kv_tokens) + " tokens in F16"));
  EXPECT_THAT(report, HasSubstr("KV cache, on disk, " + std::to_string(plan->spill_tokens) + " tokens"));
  EXPECT_THAT(report, HasSubstr("spill buffers"));
  // What fits needs no disk.
  EXPECT_EQ(PlanMemory(facts, {.context = 8192, .spill_bytes = 10 * kGB})->spill_tokens, 0);
  // The longest context is one page short of what does not fit any more.
  const auto longest = PlanMemory(facts, {.context = kLongestContext, .spill_bytes = 2 * kGB});
  ASSERT_TRUE(longest.ok());
  EXPECT_GT(longest->context, 30'000);
  EXPECT_LT(longest->context, 40'960);
  EXPECT_LE(longest->spill_bytes, 2 * kGB);
  EXPECT_FALSE(PlanMemory(facts, {.context = longest->context + 32, .spill_bytes = 2 * kGB}).ok());
}

TEST(MemoryPlan, RefusalsSayWhatDiskOrWindowWouldDo) {
  MemoryFacts facts = Qwen4B();
  facts.available = facts.weight_bytes + facts.activation_bytes + facts.runtime_bytes + 3 * kGB;
  const std::string refused = PlanMemory(facts, {.context = 40960, .spill_bytes = kGB}).status().message();
  EXPECT_THAT(refused, HasSubstr("(--spill-size 3223MB --spill-folder DIR)"));
  EXPECT_TRUE(PlanMemory(facts, {.context = 40960, .spill_bytes = 3'223'000'000}).ok());
  EXPECT_FALSE(PlanMemory(facts, {.context = 40960, .spill_bytes = 3'220'000'000}).ok());
  // A step's rows must be in memory.
  facts.available = facts.available - 3 * kGB + 50'000'000;
  EXPECT_THAT(PlanMemory(facts, {.context = 40960, .spill_bytes = kGB}).status().message(),
              Not(HasSubstr("--spill-size")));
}

TEST(MemoryPlan, AutomaticContextShrinksToWhatFits) {
  MemoryFacts facts = Qwen4B();
  const uint64_t fixed = facts.weight_bytes + facts.activation_bytes + facts.runtime_bytes;
  for (const int64_t tokens : {512, 1000, 3000, 8191}) {
    facts.available = fixed + static_cast<uint64_t>(tokens) * 147'456u;
    const auto plan = PlanMemory(facts, {});
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    EXPECT_EQ(plan->context, tokens / 32 * 32);
    EXPECT_LE(plan->total(), facts.available);
  }
  facts.available = fixed + 511 * 147'456u;
  EXPECT_EQ(PlanMemory(facts, {}).status().code(), StatusCode::kResourceExhausted);
}

TEST(MemoryPlan, RefusalSaysNeededAvailableAndALargestContextThatReallyFits) {
  MemoryFacts facts = Qwen4B();
  facts.available = 10 * kGB;
  const Status status = PlanMemory(facts, {.context = 32768}).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("needed 13.1 GB"));
  EXPECT_THAT(status.message(), HasSubstr("available 10.0 GB"));
  const std::string words = "a context of at most ";
  const size_t at = status.message().find(words);
  ASSERT_NE(at, std::string::npos) << status.message();
  const int64_t tokens = std::stoll(status.message().substr(at + words.size()));
  EXPECT_TRUE(PlanMemory(facts, {.context = tokens}).ok());
  EXPECT_FALSE(PlanMemory(facts, {.context = tokens + 1}).ok());
}

TEST(MemoryPlan, RefusalNamesTheWidestWeightTypeThatFits) {
  MemoryFacts facts = Qwen4B();
  facts.available = 3 * kGB;
  const Status status = PlanMemory(facts, {}).status();
  EXPECT_THAT(status.message(), HasSubstr("the weights at Q4_0, about 2.26 GB"));
  EXPECT_THAT(status.message(), Not(HasSubstr("a context of")));
  facts.available = 6 * kGB;
  EXPECT_THAT(PlanMemory(facts, {}).status().message(), HasSubstr("at Q8_0, about 4.27 GB"));
  facts.available = kGB;
  EXPECT_THAT(PlanMemory(facts, {}).status().message(), HasSubstr("would fit: a smaller model"));
}

TEST(MemoryPlan, RefusalNamesASmallerCacheType) {
  MemoryFacts facts = Qwen4B();
  facts.kv.types = kF32;
  facts.available = 10 * kGB;
  EXPECT_THAT(PlanMemory(facts, {.context = 8192}).status().message(), HasSubstr("a KV cache in F16, 1.21 GB"));
  facts.kv.types = kF16;
  facts.available = 9 * kGB;
  EXPECT_THAT(PlanMemory(facts, {.context = 8192}).status().message(), HasSubstr("a KV cache in Q8_0, 679 MB"));
  facts.available = 8'900'000'000;
  EXPECT_THAT(PlanMemory(facts, {.context = 8192}).status().message(),
              HasSubstr("a KV cache in Q8_0/Q4_0, 510 MB (--kv-type Q8_0/Q4_0)"));
  facts.kv.types = kQ8;
  facts.available = 8'700'000'000;
  EXPECT_THAT(PlanMemory(facts, {.context = 8192}).status().message(), HasSubstr("a KV cache in Q4_0, 340 MB"));
  facts.kv.head_dim = 120;  // not in groups of 32
  EXPECT_THAT(PlanMemory(facts, {.context = 8192}).status().message(), Not(HasSubstr("a KV cache in")));
}

TEST(MemoryPlan, KeysAndValuesCountByTheirTypes) {
  MemoryFacts facts = Qwen4B();
  const auto per_token = [&](DType k, DType v) {
    facts.kv.types = {k, v};
    return PlanMemory(facts, {.context = 4096})->kv_bytes / 4096;
  };
  EXPECT_EQ(per_token(DType::kF16, DType::kF16), 147'456u);
  EXPECT_EQ(per_token(DType::kQ8_0, DType::kQ8_0), 82'944u);
  EXPECT_EQ(per_token(DType::kQ4_0, DType::kQ4_0), 41'472u);
  EXPECT_EQ(per_token(DType::kQ8_0, DType::kQ4_0), 62'208u);
  EXPECT_EQ(per_token(DType::kQ4_0, DType::kQ8_0), 62'208u);
  EXPECT_THAT(PlanMemory(facts, {.context = 4096})->Report(), HasSubstr("4096 tokens in Q4_0/Q8_0"));
}

TEST(MemoryPlan, TheLimitOfTheWishCounts) {
  const Status status = PlanMemory(Qwen4B(), {.context = 4096, .memory_limit = 4 * kGB}).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("available 4.00 GB"));
  EXPECT_EQ(PlanMemory(Qwen4B(), {.memory_limit = 100 * kGB})->available, 24 * kGB);
}

TEST(MemoryPlan, ConnectionsAndPagesOnTheirWayToDiskCount) {
  MemoryFacts facts = Qwen4B();
  const uint64_t without = PlanMemory(facts, {.context = 4096})->total();
  facts.connection_bytes = 105'000'000;
  facts.store_bytes = 67'000'000;
  const auto plan = PlanMemory(facts, {.context = 4096});
  EXPECT_EQ(plan->total(), without + 172'000'000);
  EXPECT_THAT(plan->Report(), HasSubstr("connections                                 105 MB"));
  facts.available = 1 * kGB;
  EXPECT_THAT(PlanMemory(facts, {.context = 4096}).status().message(),
              HasSubstr("connections 105 MB, pages on their way to disk 67.0 MB)"));
}

TEST(MemoryPlan, AContextBeyondTheModelsIsRefused) {
  const Status status = PlanMemory(Qwen4B(), {.context = 40961}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("40960"));
  EXPECT_EQ(PlanMemory(Qwen4B(), {.context = -2}).status().code(), StatusCode::kInvalidArgument);
}

TEST(MemoryPlan, SequencesShareAtMostAQuarterOfTheMemory) {
  MemoryFacts facts = Qwen4B();
  const auto plan = PlanMemory(facts, {.context = 8192, .max_sequences = 8});
  EXPECT_GT(plan->kv_tokens, 3 * 8192);
  EXPECT_LE(plan->kv_bytes, facts.available / 4);
  facts.kv.layers = 1;  // little enough for every sequence's full context
  EXPECT_EQ(PlanMemory(facts, {.context = 8192, .max_sequences = 8})->kv_tokens, 8 * 8192);
  facts = Qwen4B();
  facts.available = facts.weight_bytes + 2 * kGB;
  EXPECT_LE(PlanMemory(facts, {.context = 8192, .max_sequences = 8})->total(), facts.available);
}

TEST(MemoryPlan, ReportHasAlignedLines) {
  std::istringstream report(PlanMemory(Qwen4B(), {.context = 8192})->Report());
  std::string line;
  size_t width = 0;
  int lines = 0;
  for (; std::getline(report, line); ++lines) {
    if (width == 0) width = line.size();
    EXPECT_EQ(line.size(), width) << line;
  }
  EXPECT_EQ(lines, 6);
}

TEST(MemoryPlan, RuntimeGrowsWithTheVocabulary) {
  EXPECT_GT(EstimateRuntimeBytes(151'936, 8), EstimateRuntimeBytes(6'144, 8));
  EXPECT_LT(EstimateRuntimeBytes(151'936, 16), 200'000'000u);
}

}  // namespace
}  // namespace inkstone

// What tests of the scheduler run in: a fake model, a simulated clock, and a disk that may fail.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "engine/fake_model.h"
#include "engine/scheduler.h"

namespace inkstone {

using std::chrono::microseconds;

constexpr int kPageTokens = 4;

// A disk in memory, parts of which may be bad.
struct FakeDisk {
  std::set<int32_t> bad_slots = {};  // cannot be read
  int64_t writes = 1'000'000'000;    // after which none succeeds
  int64_t failing_read = -1;         // one that fails, counting from 0
};

class FakeSpill final : public SpillDevice {
 public:
  FakeSpill(const SpillLayout& layout, const FakeDisk& disk)
      : layout_(layout), disk_(disk), bytes_(layout.file_bytes()) {}

  size_t alignment() const override { return 1; }
  Status Read(uint64_t offset, std::span<std::byte> bytes) override {
    const auto slot = [&](uint64_t at) {
      return static_cast<int32_t>(at % layout_.region_bytes() / layout_.layer_bytes);
    };
    const auto bad = disk_.bad_slots.lower_bound(slot(offset));
    if (bad != disk_.bad_slots.end() && *bad <= slot(offset + bytes.size() - 1)) return DataLoss("a bad block");
    if (disk_.failing_read-- == 0) return DataLoss("a bad block");
    std::memcpy(bytes.data(), bytes_.data() + offset, bytes.size());
    return Status::Ok();
  }
  Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    if (disk_.writes-- <= 0) return ResourceExhausted("a full disk");
    std::memcpy(bytes_.data() + offset, bytes.data(), bytes.size());
    return Status::Ok();
  }

 private:
  const SpillLayout layout_;
  FakeDisk disk_;
  std::vector<std::byte> bytes_;
};

struct World {
  World(EngineOptions options, int64_t pages, const FakeDisk& disk = {}) : options_(options) {
    ModelLimits limits;
    limits.max_step_rows = 512;
    limits.max_logit_rows = 16;
    limits.max_context = 1024;
    limits.page_tokens = kPageTokens;
    FakeModel::Behaviour behaviour;
    // Decoding: 10 ms and a little for each row. A layer of a prompt: 1 ms and 0.05 ms for each row.
    behaviour.before_layer = [this](int64_t rows, Phase phase) {
      now_ += phase == Phase::kDecode ? microseconds(3000 + 30 * rows) : microseconds(1000 + 50 * rows);
    };
    model_ = std::make_unique<FakeModel>(limits, behaviour);
    KvLayout layout = *model_->config().KvLayoutFor({DType::kF32, DType::kF32});
    layout.page_tokens = kPageTokens;
    pool_ = std::make_unique<PagePool>(std::move(PagePool::Create(*backend_, layout, pages)).value());
    if (options_.spill_tokens > 0) {
      const SpillLayout slots = SpillSpace::LayoutFor(layout, options_.spill_tokens / kPageTokens);
      spill_ = std::move(SpillSpace::Create(std::make_unique<FakeSpill>(slots, disk), slots)).value();
      pool_->set_spill(spill_.get());
    }
    auto job = PrefillJob::Create(*model_, *backend_, options_.prompt_chunk);
    scheduler_ = std::make_unique<Scheduler>(
        Scheduler::Parts{model_.get(), pool_.get(), tokenizer_->vocab_size(), nullptr, [this] { return now_; }},
        std::move(job).value(), options_, [](const Sequence&) {});
  }

  void Add(RequestId id, GenerationRequest request, EventSink sink) {
    const uint64_t seed = *request.sampling.seed;
    auto sequence = std::make_unique<Sequence>(id, std::move(request), std::move(sink), seed, *tokenizer_, pool_.get());
    sequence->submitted = now_;
    scheduler_->Add(std::move(sequence));
  }

  // No page is leaked or has a wrong count, in memory or on disk: each has a reference from every table it is in, and
  // one from the cache. No sequence has more than its window allows.
  void CheckPages() const {
    std::map<PageId, int> held;
    for (const auto& s : scheduler_->running()) {
      for (const PageId page : s->pages.pages()) ++held[page];
      ASSERT_EQ(std::ranges::count_if(s->pages.pages(), IsSpilled), s->pages.spilled_pages());
      const int64_t most = pool_->layout().PagesFor(options_.window.MostTokens(s->size()));
      ASSERT_LE(static_cast<int64_t>(s->pages.pages().size()), most);
    }
    const auto spilled = std::ranges::count_if(held, [](const auto& entry) { return IsSpilled(entry.first); });
    const SpillStats spill = scheduler_->stats().spill;
    ASSERT_EQ(spill.pages, spill.idle_pages + spilled);
    int64_t cached = 0;
    for (const auto& [page, count] : held) {
      const int extra = pool_->references(page) - count;
      ASSERT_TRUE(extra == 0 || extra == 1) << "page " << page;
      cached += extra;
    }
    ASSERT_EQ(scheduler_->stats().kv_pages_cached, cached + pool_->idle_pages() + spill.idle_pages);
    ASSERT_EQ(pool_->used_pages(), pool_->idle_pages() + static_cast<int64_t>(held.size()) - spilled);
    ASSERT_LE(pool_->used_pages(), pool_->limit());
  }

  EngineOptions options_;
  ThreadPool threads_{1};
  std::unique_ptr<Backend> backend_ = MakeCpuBackend(*AvailableKernels({}).front(), &threads_);
  std::unique_ptr<Tokenizer> tokenizer_ = MakeByteTokenizer();
  Clock::time_point now_ = Clock::time_point(std::chrono::hours(1));
  std::unique_ptr<FakeModel> model_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<SpillSpace> spill_;
  std::unique_ptr<Scheduler> scheduler_;
};

inline std::vector<int32_t> Tokens(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(size);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 200);
  return tokens;
}

struct Answer {
  std::vector<int32_t> tokens;
  std::optional<FinishReason> finish;
  Status status;
};

inline EventSink Into(Answer* answer) {
  return [answer](GenerationEvent&& event) {
    EXPECT_FALSE(answer->finish) << "an event after the last one";
    for (const GeneratedToken& token : event.tokens) answer->tokens.push_back(token.token);
    answer->finish = event.finish;
    answer->status = event.status;
  };
}

}  // namespace inkstone

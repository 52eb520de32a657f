// Sequences that are longer than the cache in memory, with the real kernels and a real file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/tiny_answers.h"

namespace inkstone {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSpillTokens = 512;

std::unique_ptr<SpillDevice> File(KvTypes types) {
  const auto runtime = std::move(Runtime::Create({.threads = 1})).value();
  const Checkpoint checkpoint = std::move(Checkpoint::Open(kTinyModel)).value();
  const KvLayout layout = *Model::ReadConfig(checkpoint)->KvLayoutFor(types);
  const SpillLayout slots = SpillSpace::LayoutFor(layout, layout.PagesFor(kSpillTokens));
  return std::move(SpillFile::Create(::testing::TempDir(), slots.file_bytes())).value();
}

EngineOptions Roomy(KvTypes types) {
  EngineOptions options{.context = 600, .kv_tokens = 4096, .kv_types = types, .prompt_chunk = 64};
  options.prefix = PrefixReuse::kPrompts;
  return options;
}

EngineOptions Narrow(EngineOptions options) {
  options.kv_tokens = 7 * 32;
  options.spill_tokens = kSpillTokens;
  return options;
}

TEST(SpillEngine, TextsAreThoseOfACacheInMemory) {
  for (const DType type : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
    const KvTypes types{type, type};
    const std::vector<int64_t> prompts = {330, 80, 280};
    const TinyAnswers roomy = AnswersOfTinyModel(Roomy(types), prompts);
    const TinyAnswers narrow = AnswersOfTinyModel(Narrow(Roomy(types)), prompts, File(types));
    EXPECT_EQ(narrow.texts, roomy.texts) << KvTypesName(types);
    EXPECT_EQ(roomy.stats.spill.written, 0);
    EXPECT_GT(narrow.stats.spill.written, 5);
    EXPECT_GT(narrow.stats.spill.read_bytes, 0u);
    EXPECT_EQ(narrow.stats.spill.pages, narrow.stats.spill.idle_pages) << "slots come back";
  }
}

// Within a window that is larger than memory.
TEST(SpillEngine, AWindowDropsSpilledPages) {
  const KvTypes types{DType::kQ8_0, DType::kQ8_0};
  EngineOptions options = Roomy(types);
  options.window = AttentionWindow::For(256, 32, 32);
  const TinyAnswers roomy = AnswersOfTinyModel(options, {480, 500});
  const TinyAnswers narrow = AnswersOfTinyModel(Narrow(options), {480, 500}, File(types));
  EXPECT_EQ(narrow.texts, roomy.texts);
  EXPECT_GT(narrow.stats.spill.written, 10);
  EXPECT_EQ(narrow.stats.spill.pages, narrow.stats.spill.idle_pages);
}

// A disk that is full, or whose content is gone.
class BadDisk final : public SpillDevice {
 public:
  explicit BadDisk(bool full) : full_(full) {}
  size_t alignment() const override { return 1; }
  Status Read(uint64_t, std::span<std::byte> bytes) override {
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
    return Status::Ok();
  }
  Status Write(uint64_t, std::span<const std::byte>) override {
    return full_ ? ResourceExhausted("no space left on the disk") : Status::Ok();
  }

 private:
  const bool full_;
};

TEST(SpillEngine, ABadDiskEndsThoseThatNeedItWithAnErrorAndNobodyElse) {
  const KvTypes types{DType::kQ8_0, DType::kQ8_0};
  const std::vector<int64_t> prompts = {330, 80};
  const TinyAnswers roomy = AnswersOfTinyModel(Roomy(types), prompts);
  const TinyAnswers gone = AnswersOfTinyModel(Narrow(Roomy(types)), prompts, std::make_unique<BadDisk>(false));
  EXPECT_THAT(gone.statuses[0].message(), HasSubstr("is not what was written"));
  EXPECT_EQ(gone.texts[0], "");
  EXPECT_EQ(gone.texts[1], roomy.texts[1]);
  EXPECT_GT(gone.stats.spill.failed_reads, 0);
  const TinyAnswers full = AnswersOfTinyModel(Narrow(Roomy(types)), prompts, std::make_unique<BadDisk>(true));
  EXPECT_THAT(full.statuses[0].message(), HasSubstr("nothing more is written to disk: no space left on the disk"));
  EXPECT_EQ(full.texts[1], roomy.texts[1]);
  EXPECT_EQ(full.stats.spill.trouble, "no space left on the disk");
}

}  // namespace
}  // namespace inkstone

// Compress with a journal: what an interrupted run leaves, and how the next one goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <limits>
#include <string>

#include "compress/compress.h"
#include "compress/resume_journal.h"
#include "compress/test_util.h"

namespace inkstone {
namespace {

using testing::HasSubstr;

namespace fs = std::filesystem;

class ResumeTest : public testing::Test {
 protected:
  void SetUp() override {
    source_ = MakeModel(folder_, "qwen3-tiny");
    Poke(source_, "blk.0.attn_k.weight", 3, std::numeric_limits<float>::quiet_NaN());
    options_.source = source_;
    options_.output = folder_ / "out.gguf";
    options_.recipe.base = DType::kQ8_0;
    options_.threads = 2;
    options_.allow_nonfinite = true;
    options_.resume_step = 1;
    CompressOptions whole = options_;
    whole.output = folder_ / "whole.gguf";
    ASSERT_TRUE(Compress(whole, [](const Progress&) {}).ok());
    whole_ = ReadFile(whole.output);
  }

  // Runs in a process of its own, which is killed after `slices` calls of progress. Every tensor of this model is one.
  void KillAfter(int slices) {
    const pid_t child = ::fork();
    if (child == 0) {
      int seen = 0;
      const auto result = Compress(options_, [&](const Progress&) {
        if (++seen == slices) std::raise(SIGKILL);
      });
      ::_exit(result.ok() ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_FALSE(fs::exists(options_.output));
    EXPECT_TRUE(fs::exists(options_.output + ".part.json"));
  }

  Result<CompressReport> Resume() {
    CompressOptions options = options_;
    options.resume = true;
    return Compress(options, [](const Progress&) {});
  }

  void ExpectOnlyTheWholeResult() {
    EXPECT_TRUE(ReadFile(options_.output) == whole_);
    EXPECT_FALSE(fs::exists(options_.output + ".part"));
    EXPECT_FALSE(fs::exists(options_.output + ".part.json"));
  }

  TempFolder folder_;
  std::string source_;
  CompressOptions options_;
  std::string whole_;
};

TEST_F(ResumeTest, GoesOnAfterAKillAndGivesTheSameBytes) {
  for (const int slices : {1, 9, 30}) {
    KillAfter(slices);
    // What was written after the journal's last note does not count.
    std::ofstream(options_.output + ".part", std::ios::app) << "torn";
    const Result<CompressReport> report = Resume();
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->nonfinite_replaced, 1);
    if (slices == 30) {
      EXPECT_GT(report->resumed_bytes, 0u);
      EXPECT_LT(report->resumed_bytes, report->tensor_bytes);
    }
    ExpectOnlyTheWholeResult();
    fs::remove(options_.output);
  }
}

TEST_F(ResumeTest, SurvivesSeveralKills) {
  KillAfter(15);
  options_.resume = true;
  KillAfter(10);
  ASSERT_TRUE(Resume().ok());
  ExpectOnlyTheWholeResult();
}

TEST_F(ResumeTest, AFullDiskLeavesWhatIsThere) {
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = whole_.size() * 2 / 3;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = Compress(options_, [](const Progress&) {}).status();
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status.message();
  EXPECT_THAT(status.message(), HasSubstr("--resume"));
  const Result<CompressReport> report = Resume();
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_GT(report->resumed_bytes, whole_.size() / 2);
  ExpectOnlyTheWholeResult();
}

TEST_F(ResumeTest, RefusesOtherInputsAndOptions) {
  const auto refused = [&](const CompressOptions& changed) {
    CompressOptions options = changed;
    options.resume = true;
    const Status status = Compress(options, [](const Progress&) {}).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.message(), HasSubstr("without --resume"));
    return status.message();
  };
  KillAfter(20);
  CompressOptions changed = options_;
  changed.recipe.base = DType::kQ4_0;
  EXPECT_THAT(refused(changed), HasSubstr("its beginning is not that of the file to write now"));
  changed = options_;
  changed.allow_nonfinite = false;
  EXPECT_THAT(refused(changed), HasSubstr("--allow-nonfinite"));
  changed = options_;
  changed.source = folder_ / "whole.gguf";
  EXPECT_THAT(refused(changed), HasSubstr("it was made from"));
  Poke(source_, "blk.0.attn_q.weight", 0, 0.5f);
  EXPECT_THAT(refused(options_), HasSubstr("model.safetensors has changed"));
  // None of this touched what is there, and a run without resume replaces it.
  EXPECT_TRUE(fs::exists(options_.output + ".part"));
  EXPECT_TRUE(Compress(options_, [](const Progress&) {}).ok());
  EXPECT_FALSE(fs::exists(options_.output + ".part.json"));
}

TEST_F(ResumeTest, NeedsAJournalThatItUnderstands) {
  EXPECT_EQ(Resume().status().code(), StatusCode::kNotFound);
  EXPECT_THAT(Resume().status().message(), HasSubstr("without --resume"));
  KillAfter(5);
  const std::string path = ResumeJournal::PathFor(options_.output);
  const std::string good = ReadFile(path);
  for (const std::string& bad :
       {std::string("{"), std::string("[]"), std::string("{}"), good.substr(0, good.size() / 2),
        "{\"version\":\"0\"," + good.substr(good.find("\"inputs\""))}) {
    WriteFile(path, bad);
    EXPECT_EQ(Resume().status().code(), StatusCode::kDataLoss) << bad;
    EXPECT_THAT(Resume().status().message(), HasSubstr("without --resume"));
  }
  WriteFile(path, good);
  fs::remove(options_.output + ".part");
  EXPECT_THAT(Resume().status().message(), HasSubstr("without --resume"));
}

TEST_F(ResumeTest, ABadValueLeavesNothing) {
  options_.allow_nonfinite = false;
  EXPECT_EQ(Compress(options_, [](const Progress&) {}).status().code(), StatusCode::kDataLoss);
  EXPECT_FALSE(fs::exists(options_.output + ".part"));
  EXPECT_FALSE(fs::exists(options_.output + ".part.json"));
}

}  // namespace
}  // namespace inkstone

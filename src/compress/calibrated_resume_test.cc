// A calibrated run that was killed, and how the next one goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <limits>
#include <string_view>

#include "compress/calibrated.h"
#include "compress/calibration_journal.h"
#include "compress/resume_journal.h"
#include "compress/test_util.h"

namespace inkstone {
namespace {

using testing::HasSubstr;

namespace fs = std::filesystem;

class CalibratedResumeTest : public testing::Test {
 protected:
  void SetUp() override {
    MakeSource();
    options_.compress.output = folder_ / "out.gguf";
    options_.compress.threads = 2;
    options_.compress.resume_step = 1;
    options_.text =
        ReadFile(std::string(INKSTONE_SOURCE_DIR) + "/src/compress/calibration/english_manual.txt").substr(0, 600);
    options_.compress.recipe.base = DType::kQ4_0;
    options_.journal_interval = {};
  }

  // Three of the tiny model's six layers: half of the work.
  void MakeSource() {
    CalibratedOptions options;
    options.compress.source = std::string(INKSTONE_SOURCE_DIR) + "/tests/data/tiny-qwen3";
    options.compress.output = source_ / "source.gguf";
    options.compress.recipe.base = DType::kF16;
    options.text = std::string(400, 'a');
    for (size_t i = 0; i < options.text.size(); i += 2) options.text[i] = ' ';
    options.prune = PruneOptions{3, 1e9};
    const auto made = Run(options);
    ASSERT_TRUE(made.ok()) << made.status().message();
    options_.compress.source = options.compress.output;
  }

  static Result<CalibratedReport> Run(const CalibratedOptions& options) {
    return CompressCalibrated(options, [](const StageProgress&) {});
  }
  Result<CalibratedReport> Resume() const {
    CalibratedOptions options = options_;
    options.compress.resume = true;
    return Run(options);
  }

  // The bytes of an undisturbed run.
  std::string Whole() const {
    CalibratedOptions options = options_;
    options.compress.output = folder_ / "whole.gguf";
    EXPECT_TRUE(Run(options).ok());
    return ReadFile(options.compress.output);
  }

  // Runs in a process of its own, which is killed where the stage has done this share.
  void KillAt(std::string_view stage, double share, bool resume = false) const {
    const pid_t child = ::fork();
    if (child == 0) {
      CalibratedOptions options = options_;
      options.compress.resume = resume;
      const auto result = CompressCalibrated(options, [&](const StageProgress& p) {
        if (p.stage == stage && static_cast<double>(p.done) >= share * static_cast<double>(p.total)) {
          std::raise(SIGKILL);
        }
      });
      ::_exit(result.ok() ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_FALSE(fs::exists(options_.compress.output));
    EXPECT_TRUE(CalibrationJournal::Exists(options_.compress.output));
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_ / "")) names.push_back(entry.path().filename());
    return names;
  }

  TempFolder source_{"_source"}, folder_;
  CalibratedOptions options_;
};

TEST_F(CalibratedResumeTest, GoesOnFromAnyStageAndGivesTheSameBytes) {
  options_.bits_per_weight = 5;  // with sensitivity, which is what takes long
  const std::string whole = Whole();
  fs::remove(folder_ / "whole.gguf");
  struct Case {
    const char* stage;
    double share;
    int64_t least, most;  // layers of three that need not run again
  };
  for (const Case& c :
       {Case{"Calibrating", 0, 0, 0}, Case{"Calibrating", 0.5, 1, 2}, Case{"Compressing", 0.95, 3, 3}}) {
    SCOPED_TRACE(std::string(c.stage) + " " + std::to_string(c.share));
    KillAt(c.stage, c.share);
    const auto report = Resume();
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_GE(report->resumed_layers, c.least);
    EXPECT_LE(report->resumed_layers, c.most);
    EXPECT_EQ(report->file.resumed_bytes > 0, c.share == 0.95);
    EXPECT_TRUE(ReadFile(options_.compress.output) == whole);
    EXPECT_THAT(Files(), testing::ElementsAre("out.gguf"));
    fs::remove(options_.compress.output);
  }
}

TEST_F(CalibratedResumeTest, SurvivesKillAfterKill) {
  const std::string whole = Whole();
  KillAt("Calibrating", 0.2);
  KillAt("Calibrating", 0.6, true);
  KillAt("Compressing", 0.5, true);
  KillAt("Compressing", 0.8, true);
  ASSERT_TRUE(Resume().ok());
  EXPECT_TRUE(ReadFile(options_.compress.output) == whole);
}

TEST_F(CalibratedResumeTest, RefusesWhatWouldGiveOtherNumbersAndTouchesNothing) {
  EXPECT_EQ(Resume().status().code(), StatusCode::kNotFound);
  KillAt("Calibrating", 0.5);
  const std::string path = CalibrationJournal::PathFor(options_.compress.output);
  const std::string good = ReadFile(path);
  const auto refused = [&](const CalibratedOptions& changed) {
    CalibratedOptions options = changed;
    options.compress.resume = true;
    const Status status = Run(options).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.message();
    EXPECT_THAT(status.message(), HasSubstr("without --resume"));
    EXPECT_TRUE(ReadFile(path) == good);
    return status.message();
  };
  CalibratedOptions changed = options_;
  changed.text[5] = '!';
  EXPECT_THAT(refused(changed), HasSubstr("made with the text"));
  changed = options_;
  changed.bits_per_weight = 5;
  EXPECT_THAT(refused(changed), HasSubstr("made with the sample none"));
  changed = options_;
  changed.cpu = "ref";
  EXPECT_THAT(refused(changed), HasSubstr("expected ref"));
  // Another type is not another calibration.
  changed = options_;
  changed.compress.recipe.base = DType::kQ8_0;
  changed.compress.resume = true;
  EXPECT_TRUE(Run(changed).ok());
}

TEST_F(CalibratedResumeTest, ADamagedStateIsNotTaken) {
  KillAt("Calibrating", 0.5);
  const std::string path = CalibrationJournal::PathFor(options_.compress.output);
  const std::string good = ReadFile(path);
  std::vector<std::string> bad = {"x", good.substr(0, good.size() / 2), good + "x"};
  for (const size_t at : {size_t{3}, size_t{20}, good.size() / 3, good.size() - 1}) {
    bad.push_back(good);
    bad.back()[at] = static_cast<char>(bad.back()[at] ^ 64);
  }
  for (const std::string& bytes : bad) {
    WriteFile(path, bytes);
    const Status status = Resume().status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.message(), HasSubstr("without --resume"));
    EXPECT_TRUE(ReadFile(path) == bytes);
  }
}

// The file may grow to `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(uint64_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &before_), 0);
    struct rlimit small = before_;
    small.rlim_cur = bytes;
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, old_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*old_handler_)(int);
  struct rlimit before_ {};
};

TEST_F(CalibratedResumeTest, AFullDiskLosesNothing) {
  const std::string whole = Whole();
  {
    const FileSizeLimit limit(whole.size() / 2);
    const Status status = Run(options_).status();
    EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status.message();
    EXPECT_THAT(status.message(), HasSubstr("--resume"));
    EXPECT_THAT(status.message(), HasSubstr("out.gguf.part"));
  }
  EXPECT_FALSE(fs::exists(options_.compress.output));
  const auto report = Resume();
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->resumed_layers, 3);
  EXPECT_GT(report->file.resumed_bytes, 0u);
  EXPECT_TRUE(ReadFile(options_.compress.output) == whole);
}

TEST_F(CalibratedResumeTest, ADiskTooFullForAnyStateIsSaid) {
  const FileSizeLimit limit(50'000);
  const Status status = Run(options_).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status.message();
  EXPECT_THAT(status.message(), HasSubstr("out.gguf.part.calibration.part: cannot write"));
  EXPECT_THAT(status.message(), HasSubstr("--resume"));
  EXPECT_FALSE(fs::exists(options_.compress.output));
}

TEST_F(CalibratedResumeTest, BadValuesAreFoundBeforeTheWork) {
  const std::string copy = folder_ / "copy";
  fs::copy(std::string(INKSTONE_SOURCE_DIR) + "/tests/data/tiny-qwen3", copy);
  options_.compress.source = copy;
  options_.bits_per_weight = 5;
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e6f}) {
    Poke(copy, "blk.2.ffn_up.weight", 300, value);
    for (const bool allow : {false, true}) {
      options_.compress.allow_nonfinite = allow;
      const Status status = CompressCalibrated(options_, [](const StageProgress&) { ADD_FAILURE(); }).status();
      EXPECT_EQ(status.code(), StatusCode::kDataLoss);
      EXPECT_THAT(status.message(), HasSubstr("copy: tensor 'blk.2.ffn_up.weight': found "));
      EXPECT_THAT(status.message(), HasSubstr("at index 300 (row 1, column 44)"));
    }
  }
  EXPECT_THAT(Files(), testing::ElementsAre("copy"));
}

}  // namespace
}  // namespace inkstone

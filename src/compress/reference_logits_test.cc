#include "compress/reference_logits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "compress/test_util.h"

namespace inkstone {
namespace {

using testing::HasSubstr;

constexpr int64_t kVocab = 200;

EvaluationWindows MakeWindows() {
  std::vector<int32_t> tokens(30);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 7 % 100);
  std::vector<int32_t> few = {1, 2, 3};
  return std::move(EvaluationWindows::Cut({{"long", tokens}, {"short", few}}, 8, 0)).value();
}

ReferenceIdentity Identity() {
  ReferenceIdentity identity;
  identity.model = {"reference.gguf", 0x1234, 1000, 900, 450};
  identity.kernels = "ref";
  return identity;
}

std::vector<float> Logits(int64_t row) {
  std::vector<float> logits(kVocab);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = 10 * std::sin(static_cast<float>(i * 3 + static_cast<size_t>(row) * 17));
  }
  return logits;
}

void WriteWindows(const EvaluationWindows& windows, ReferenceLogits* logits, int64_t count) {
  ReferenceLogits::Scratch scratch(kVocab);
  for (; count > 0; --count) {
    const EvaluationWindow& window = windows.windows()[static_cast<size_t>(logits->windows_done())];
    for (int64_t r = window.first_row; r < window.first_row + window.rows(); ++r) {
      ASSERT_TRUE(logits->Write(r, static_cast<double>(r) + 0.25, Logits(r), scratch).ok());
    }
    ASSERT_TRUE(logits->FinishWindow().ok());
  }
}

// A complete file.
std::string MakeFile(const TempFolder& folder) {
  const EvaluationWindows windows = MakeWindows();
  std::string path = folder / "reference.logits";
  auto logits = ReferenceLogits::OpenOrCreate(path, ReferenceContent::Of(windows, kVocab), Identity());
  if (!logits.ok()) throw std::runtime_error(logits.status().message());
  WriteWindows(windows, &*logits, 4);
  return path;
}

TEST(EvaluationWindows, AreCutFromEachText) {
  const EvaluationWindows windows = MakeWindows();
  ASSERT_EQ(windows.windows().size(), 4u);  // three of eight tokens, the rest is dropped; one of three
  EXPECT_EQ(windows.window(), 8);
  EXPECT_EQ(windows.rows(), 3 * 7 + 2);
  EXPECT_EQ(windows.RowsOf(0), std::make_pair(int64_t{0}, int64_t{21}));
  EXPECT_EQ(windows.RowsOf(1), std::make_pair(int64_t{21}, int64_t{23}));
  EXPECT_EQ(windows.windows()[3].first_row, 21);
  const auto fewer = EvaluationWindows::Cut({{"a", std::vector<int32_t>(30, 1)}}, 8, 2);
  EXPECT_EQ(fewer->windows().size(), 2u);
  EXPECT_NE(fewer->hash(), windows.hash());
  EXPECT_THAT(EvaluationWindows::Cut({{"a", {1}}}, 8, 0).status().message(), HasSubstr("at least two tokens, found 1"));
  EXPECT_FALSE(EvaluationWindows::Cut({}, 8, 0).ok());
}

TEST(ReferenceLogits, GivesBackWhatWasWritten) {
  const TempFolder folder;
  const EvaluationWindows windows = MakeWindows();
  const auto logits = ReferenceLogits::Open(MakeFile(folder), ReferenceContent::Of(windows, kVocab));
  ASSERT_TRUE(logits.ok()) << logits.status().message();
  EXPECT_TRUE(logits->complete());
  EXPECT_EQ(logits->identity().model.name, "reference.gguf");
  EXPECT_EQ(logits->identity().model.bits_per_weight(), 16);
  ReferenceLogits::Scratch scratch(kVocab);
  for (int64_t r = 0; r < windows.rows(); ++r) {
    double loss = 0;
    ASSERT_TRUE(logits->Read(r, scratch, &loss).ok());
    EXPECT_EQ(loss, static_cast<double>(r) + 0.25);
    EXPECT_THAT(scratch.logits, testing::Pointwise(testing::FloatNear(2e-4f), Logits(r)));
  }
}

TEST(ReferenceLogits, IsContinuedWithTheSameBytes) {
  const TempFolder folder;
  const EvaluationWindows windows = MakeWindows();
  const ReferenceContent content = ReferenceContent::Of(windows, kVocab);
  const std::string whole = ReadFile(MakeFile(folder));
  const std::string path = folder / "parts.logits";
  {
    auto logits = ReferenceLogits::OpenOrCreate(path, content, Identity());
    ASSERT_TRUE(logits.ok());
    WriteWindows(windows, &*logits, 2);
    ReferenceLogits::Scratch scratch(kVocab);
    ASSERT_TRUE(logits->Write(15, 1.0, Logits(3), scratch).ok());  // of a window that never got finished
    EXPECT_THAT(ReferenceLogits::OpenOrCreate(path, content, Identity()).status().message(),
                HasSubstr("another process"));
  }
  EXPECT_THAT(ReferenceLogits::Open(path, content).status().message(), HasSubstr("2 of 4 windows"));
  auto logits = ReferenceLogits::OpenOrCreate(path, content, Identity());
  ASSERT_TRUE(logits.ok());
  EXPECT_EQ(logits->windows_done(), 2);
  WriteWindows(windows, &*logits, 2);
  EXPECT_TRUE(logits->complete());
  EXPECT_TRUE(ReadFile(path) == whole);
}

TEST(ReferenceLogits, RefusesWhatWasMadeOfSomethingElse) {
  const TempFolder folder;
  const std::string path = MakeFile(folder);
  const ReferenceContent content = ReferenceContent::Of(MakeWindows(), kVocab);
  const auto open = [&](auto change) {
    ReferenceContent other = content;
    change(&other);
    return ReferenceLogits::Open(path, other).status().message();
  };
  EXPECT_THAT(open([](auto* c) { c->vocab = 151936; }), HasSubstr("vocabulary size: expected 151936, found 200"));
  EXPECT_THAT(open([](auto* c) { c->window = 512; }), HasSubstr("window length: expected 512, found 8"));
  EXPECT_THAT(open([](auto* c) { c->windows = 5; }), HasSubstr("number of windows: expected 5, found 4"));
  EXPECT_THAT(open([](auto* c) { c->tokens_hash = 1; }),
              HasSubstr("text or tokenizer: expected tokens with hash 0000"));
  ReferenceIdentity identity = Identity();
  identity.kernels = "amx";
  EXPECT_THAT(ReferenceLogits::OpenOrCreate(path, content, identity).status().message(),
              HasSubstr("kernel target: expected amx, found ref"));
  identity.model.fingerprint = 0;
  EXPECT_THAT(ReferenceLogits::OpenOrCreate(path, content, identity).status().message(),
              HasSubstr("of another model: expected reference.gguf"));
  EXPECT_FALSE(ReferenceLogits::Open(folder / "none", content).ok());
  EXPECT_FALSE(ReferenceLogits::Open(folder / "", content).ok());
}

// Everything that opens must be read without a crash, and what is read must be what was written.
TEST(ReferenceLogits, DamageIsAnError) {
  const TempFolder folder;
  const std::string whole = ReadFile(MakeFile(folder));
  const ReferenceContent content = ReferenceContent::Of(MakeWindows(), kVocab);
  const std::string path = folder / "bad.logits";
  ReferenceLogits::Scratch scratch(kVocab);
  const auto readable = [&](const std::string& bytes) {
    WriteFile(path, bytes);
    const auto logits = ReferenceLogits::Open(path, content);
    if (!logits.ok()) return false;
    for (int64_t r = 0; r < content.rows; ++r) {
      double loss = 0;
      if (!logits->Read(r, scratch, &loss).ok()) return false;
    }
    return true;
  };
  EXPECT_TRUE(readable(whole));
  for (size_t size = 0; size < whole.size(); size += size < 600 ? 1 : 997)
    EXPECT_FALSE(readable(whole.substr(0, size)));
  const size_t counter_end = 400;
  for (size_t i = 0; i < whole.size(); i += i < counter_end ? 1 : 331) {
    if (i >= counter_end && i < 512) continue;  // unused
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    EXPECT_FALSE(readable(bad)) << i;
  }
}

TEST(ReferenceLogits, TemporaryFilesLeaveNothing) {
  const TempFolder folder;
  const EvaluationWindows windows = MakeWindows();
  auto logits = ReferenceLogits::CreateTemporary(folder / "", ReferenceContent::Of(windows, kVocab), Identity());
  ASSERT_TRUE(logits.ok()) << logits.status().message();
  WriteWindows(windows, &*logits, 4);
  ReferenceLogits::Scratch scratch(kVocab);
  double loss = 0;
  EXPECT_TRUE(logits->Read(22, scratch, &loss).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder / ""));
}

}  // namespace
}  // namespace inkstone

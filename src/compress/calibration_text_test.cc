#include "compress/calibration_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <vector>

#include "compress/hash64.h"
#include "tokenizer/unicode.h"

namespace inkstone {
namespace {

using ::testing::Each;
using ::testing::Ge;

// Bytes of each kind in the first `limit` bytes of the mix of the default texts.
std::array<size_t, 3> KindsInFront(size_t limit) {
  std::array<size_t, 3> bytes{};
  const std::string mix = MixCalibrationTexts(DefaultCalibrationTexts()).substr(0, limit);
  constexpr size_t kProbe = 64;
  for (size_t at = 0; at + kProbe <= mix.size(); at += kProbe) {
    for (const CalibrationText& text : DefaultCalibrationTexts()) {
      if (text.text.find(std::string_view(mix).substr(at, kProbe)) == std::string_view::npos) continue;
      bytes[static_cast<size_t>(text.kind)] += kProbe;
      break;
    }
  }
  return bytes;
}

TEST(CalibrationTextTest, EveryTextIsThereAndValidUtf8) {
  size_t total = 0;
  for (const CalibrationText& text : DefaultCalibrationTexts()) {
    EXPECT_GT(text.text.size(), 1000u) << text.name;
    EXPECT_TRUE(unicode::IsValidUtf8(text.text)) << text.name;
    total += text.text.size();
  }
  EXPECT_GT(total, 100'000u);
}

// A change of them changes every file that is compressed with the default texts.
TEST(CalibrationTextTest, TextsStayAsTheyAre) {
  const std::string mix = MixCalibrationTexts(DefaultCalibrationTexts());
  EXPECT_EQ(Hash64(std::as_bytes(std::span(mix)), 0), 9184217616370235583u);
}

TEST(CalibrationTextTest, KindsFollowTheNames) {
  for (const CalibrationText& text : DefaultCalibrationTexts()) {
    const auto chinese = std::count_if(text.text.begin(), text.text.end(), [](char c) { return (c & 0xF0) == 0xE0; });
    EXPECT_EQ(static_cast<size_t>(chinese) > text.text.size() / 8, text.kind == CalibrationKind::kChinese) << text.name;
  }
}

TEST(CalibrationTextTest, BeginningsAreBalanced) {
  EXPECT_THAT(KindsInFront(20'000), Each(Ge(4'000u)));
  EXPECT_THAT(KindsInFront(60'000), Each(Ge(14'000u)));
}

TEST(CalibrationTextTest, MixKeepsEveryByte) {
  const std::string mix = MixCalibrationTexts(DefaultCalibrationTexts());
  std::string joined;
  for (const CalibrationText& text : DefaultCalibrationTexts()) joined += text.text;
  EXPECT_TRUE(unicode::IsValidUtf8(mix));
  std::array<size_t, 256> difference{};
  for (const char c : joined) ++difference[static_cast<unsigned char>(c)];
  for (const char c : mix) --difference[static_cast<unsigned char>(c)];
  EXPECT_THAT(difference, Each(0u));
}

TEST(CalibrationTextTest, PiecesAlternateAndEndAtParagraphs) {
  const std::string prose = std::string(1500, 'a') + "\n\n" + std::string(700, 'b');
  const std::string code = std::string(1400, 'c') + "\n" + std::string(1000, 'd');
  std::string chinese;
  for (int i = 0; i < 1000; ++i) chinese += "\xE6\xBD\xAE";
  const std::vector<CalibrationText> texts = {{"p", CalibrationKind::kProse, prose},
                                              {"c", CalibrationKind::kCode, code},
                                              {"z", CalibrationKind::kChinese, chinese}};
  EXPECT_EQ(MixCalibrationTexts(texts), prose.substr(0, 1502) + chinese.substr(0, 2046) + code.substr(0, 1401) +
                                            prose.substr(1502) + chinese.substr(2046) + code.substr(1401));
}

TEST(CalibrationTextTest, TextsOfAKindTakeTurns) {
  const std::string a(2500, 'a');
  const std::string b(2500, 'b');
  const std::vector<CalibrationText> texts = {{"a", CalibrationKind::kCode, a}, {"b", CalibrationKind::kCode, b}};
  EXPECT_EQ(MixCalibrationTexts(texts),
            std::string(2048, 'a') + std::string(2048, 'b') + std::string(452, 'a') + std::string(452, 'b'));
  EXPECT_EQ(MixCalibrationTexts({}), "");
}

}  // namespace
}  // namespace inkstone

// The text that calibration reads when the user gives none.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace inkstone {

enum class CalibrationKind { kProse, kChinese, kCode };

struct CalibrationText {
  std::string_view name;  // the file that it comes from: "src/compress/calibration/english_prose.txt"
  CalibrationKind kind = CalibrationKind::kProse;
  std::string_view text;  // UTF-8, embedded in the program
};

// Texts written for this purpose, and the project's own documents and some of its sources.
std::span<const CalibrationText> DefaultCalibrationTexts();

// All texts in pieces of 1 to 2 KB, one of each kind in turn, so that every beginning is a balanced mix. Within a kind
// the texts alternate too; each text keeps its order. A kind that ends leaves the rest to the others. Lossless: every
// byte of the texts occurs once. Pieces end at a blank line where one is in reach, else at a line's end, never within a
// character.
std::string MixCalibrationTexts(std::span<const CalibrationText> texts);

}  // namespace inkstone

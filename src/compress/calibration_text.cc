#include "compress/calibration_text.h"

#include <algorithm>
#include <array>
#include <vector>

#include "compress/embedded_text.h"

namespace inkstone {
namespace {

constexpr size_t kMinPiece = 1024;
constexpr size_t kMaxPiece = 2048;
constexpr std::string_view kFolder = "src/compress/calibration/";

bool IsCalibrationText(std::string_view name) { return name.starts_with(kFolder); }

CalibrationKind KindOf(std::string_view name) {
  name.remove_prefix(kFolder.size());
  if (name.starts_with("chinese")) return CalibrationKind::kChinese;
  return name.starts_with("english") ? CalibrationKind::kProse : CalibrationKind::kCode;
}

// Bytes of the piece at the front of `text`.
size_t PieceLength(std::string_view text) {
  if (text.size() <= kMaxPiece) return text.size();
  for (const std::string_view end : {std::string_view("\n\n"), std::string_view("\n")}) {
    const size_t at = text.find(end, kMinPiece);
    if (at != std::string_view::npos && at + end.size() <= kMaxPiece) return at + end.size();
  }
  size_t length = kMaxPiece;
  while (length > kMinPiece && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  return length;
}

// The texts of one kind, read in turn.
struct Rotation {
  std::vector<std::string_view> rests;
  size_t next = 0;

  std::string_view TakePiece() {
    if (rests.empty()) return {};
    next %= rests.size();
    const std::string_view piece = rests[next].substr(0, PieceLength(rests[next]));
    rests[next].remove_prefix(piece.size());
    if (rests[next].empty()) {
      rests.erase(rests.begin() + static_cast<ptrdiff_t>(next));
    } else {
      ++next;
    }
    return piece;
  }
};

}  // namespace

std::string_view FindEmbeddedText(std::string_view name) {
  const auto texts = EmbeddedTexts();
  const auto it = std::find_if(texts.begin(), texts.end(), [&](const EmbeddedText& t) { return t.name == name; });
  return it == texts.end() ? std::string_view() : it->text;
}

std::span<const CalibrationText> DefaultCalibrationTexts() {
  static const std::vector<CalibrationText> texts = [] {
    std::vector<CalibrationText> list;
    for (const EmbeddedText& file : EmbeddedTexts()) {
      if (IsCalibrationText(file.name)) list.push_back({file.name, KindOf(file.name), file.text});
    }
    return list;
  }();
  return texts;
}

std::string MixCalibrationTexts(std::span<const CalibrationText> texts) {
  std::array<Rotation, 3> kinds;
  size_t total = 0;
  for (const CalibrationText& text : texts) {
    if (!text.text.empty()) kinds[static_cast<size_t>(text.kind)].rests.push_back(text.text);
    total += text.text.size();
  }
  std::string mix;
  mix.reserve(total);
  while (mix.size() < total) {
    for (Rotation& kind : kinds) mix += kind.TakePiece();
  }
  return mix;
}

}  // namespace inkstone

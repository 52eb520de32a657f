#include "compress/evaluation_windows.h"

#include <algorithm>
#include <utility>

#include "compress/hash64.h"

namespace inkstone {

Result<EvaluationWindows> EvaluationWindows::Cut(std::vector<EvaluationText> texts, int64_t window,
                                                 int64_t max_windows) {
  if (texts.empty() || window < 2) return InvalidArgument("expected a text, and a window of at least two tokens");
  EvaluationWindows cut;
  cut.texts_ = std::move(texts);
  int64_t row = 0;
  for (const EvaluationText& text : cut.texts_) {
    const int64_t count = static_cast<int64_t>(text.tokens.size());
    if (count < 2) {
      return InvalidArgument(text.name + ": expected at least two tokens, found " + std::to_string(count));
    }
    const int64_t length = std::min(window, count);
    int64_t windows = count / length;
    if (max_windows > 0) windows = std::min(windows, max_windows);
    for (int64_t w = 0; w < windows; ++w) {
      const std::span<const int32_t> all(text.tokens);
      cut.windows_.push_back({all.subspan(static_cast<size_t>(w * length), static_cast<size_t>(length)), row});
      row += length - 1;
      cut.hash_ = Hash64(std::as_bytes(cut.windows_.back().tokens), cut.hash_);
    }
    cut.window_ = std::max(cut.window_, length);
    cut.first_rows_.push_back(row);
  }
  return cut;
}

}  // namespace inkstone

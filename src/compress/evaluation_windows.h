// Texts cut into the windows that evaluation scores, and the numbering of the scored positions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"

namespace inkstone {

struct EvaluationText {
  std::string name;
  std::vector<int32_t> tokens;
};

// The first token of a window predicts the second, and so on: a row of logits for every token but the last.
struct EvaluationWindow {
  std::span<const int32_t> tokens;  // at least two
  int64_t first_row = 0;            // among all rows
  int64_t rows() const { return static_cast<int64_t>(tokens.size()) - 1; }
};

class EvaluationWindows {
 public:
  // Windows do not overlap and share no context. Of each text, all whole windows of `window` tokens, at most
  // `max_windows` unless that is 0; a shorter text is one window. kInvalidArgument for a text or a window of fewer than
  // two tokens, and without texts.
  static Result<EvaluationWindows> Cut(std::vector<EvaluationText> texts, int64_t window, int64_t max_windows);

  EvaluationWindows(EvaluationWindows&&) = default;
  EvaluationWindows& operator=(EvaluationWindows&&) = default;
  EvaluationWindows(const EvaluationWindows&) = delete;
  EvaluationWindows& operator=(const EvaluationWindows&) = delete;

  std::span<const EvaluationText> texts() const { return texts_; }
  std::span<const EvaluationWindow> windows() const { return windows_; }
  int64_t window() const { return window_; }  // tokens of the longest
  int64_t rows() const { return first_rows_.back(); }
  // Rows [first, second) are of this text.
  std::pair<int64_t, int64_t> RowsOf(size_t text) const { return {first_rows_[text], first_rows_[text + 1]}; }
  uint64_t hash() const { return hash_; }  // of the tokens and how they are cut

 private:
  EvaluationWindows() = default;

  std::vector<EvaluationText> texts_;
  std::vector<EvaluationWindow> windows_;  // views into texts_
  std::vector<int64_t> first_rows_{0};     // (texts + 1)
  int64_t window_ = 0;
  uint64_t hash_ = 0;
};

}  // namespace inkstone

// A sliding window over positions, with attention sinks (Xiao et al. 2024, "Efficient Streaming Language Models with
// Attention Sinks"): the first positions and the newest stay in the cache, those between them leave in fixed steps.
// What position t attends to is a function of t alone, never of chunks, neighbours or what was found again.
#pragma once

#include <algorithm>
#include <cstdint>

namespace inkstone {

struct AttentionWindow {
  int64_t tokens = 0;  // newest positions that every position sees at least, itself excluded; 0: all, nothing leaves
  int64_t sinks = 0;   // first positions that stay; whole pages
  int64_t step = 0;    // positions that leave at once; whole pages

  // `sinks` is rounded up to whole pages; the step is an eighth of the window, one page at least.
  static AttentionWindow For(int64_t tokens, int64_t sinks, int page_tokens) {
    if (tokens <= 0) return {};
    const int64_t page = page_tokens;
    const int64_t eighth = (tokens / 8 + page / 2) / page * page;
    return {tokens, (sinks + page - 1) / page * page, std::max(page, eighth)};
  }

  bool on() const { return tokens > 0; }
  // How many positions, from `sinks` on, are no longer seen from `position`.
  int64_t Dropped(int64_t position) const {
    return on() ? std::max<int64_t>(position - sinks - tokens, 0) / step * step : 0;
  }
  // The first position after `position` that sees fewer of the old ones; `otherwise` when there is none before it.
  int64_t NextDrop(int64_t position, int64_t otherwise) const {
    return on() ? std::min(otherwise, Dropped(position) + MostTokens()) : otherwise;
  }
  // Positions of one sequence that are in the cache at once, at most; of one with `size` positions.
  int64_t MostTokens(int64_t size) const { return on() ? std::min(size, MostTokens()) : size; }

  bool operator==(const AttentionWindow&) const = default;

 private:
  int64_t MostTokens() const { return sinks + tokens + step; }
};

}  // namespace inkstone

#include "engine/memory_governor.h"

#include <algorithm>
#include <limits>

namespace inkstone {
namespace {

using std::chrono::milliseconds;

// All thresholds are here.
//
// The reserve is what the kernel and its other users may take between two looks: 0.1 s of a fast writer is 100 MB, and
// Linux begins to reclaim below about 1 % of memory. Small machines and groups give less.
constexpr uint64_t kReservePart = 50;
constexpr int64_t kLeastReserve = 8 << 20;
constexpr int64_t kMostReserve = 256 << 20;
// Caches begin to shrink when a 64th is left (a 4B model with 6 GiB: 96 MB; some tens of its pages), and until twice
// that is, so that what comes and goes in between moves nothing.
constexpr uint64_t kLowPart = 64;
constexpr int64_t kLeastLow = 4 << 20;
constexpr int64_t kMostLow = 96 << 20;
// A shortage that lasts this long is met by the next level: three looks, time enough for the last reaction to show.
constexpr milliseconds kEscalateAfter{300};
// Refusing strangers for good reason only: what was preempted has had time to leave.
constexpr milliseconds kRefuseAfter{1000};
// A level is left when its shortage has been over for so long.
constexpr milliseconds kRecoverAfter{2000};
// A tenth of the time lost to waiting is felt, and far from what makes systemd-oomd kill (60 % of 30 s). It also comes
// from weights that are read back, so that it shrinks caches and does no more.
constexpr double kStalledPercent = 10;
// Pages that each running sequence may come to need between two looks.
constexpr int64_t kGrowth = 2;

int64_t Part(uint64_t bytes, uint64_t part, int64_t least, int64_t most) {
  return std::clamp(static_cast<int64_t>(std::min<uint64_t>(bytes / part, 1 << 30)), least, most);
}

int64_t PagesOf(int64_t bytes, uint64_t page_bytes) {
  const auto page = static_cast<int64_t>(page_bytes);
  return page == 0 ? 0 : (bytes + page - 1) / page;
}

// How many pages may be in use. With little headroom, as many fewer as bring it to `high`; with enough, as many more as
// leave it there.
int64_t PageLimit(const MemoryState& before, const MemoryReading& r, const MemoryLines& lines, int64_t headroom) {
  const int64_t old = before.page_limit < 0 ? r.total_pages : before.page_limit;
  const bool is_short = headroom < lines.low || r.stalled >= kStalledPercent;
  int64_t limit = old;
  if (is_short) {
    const int64_t wanted = std::max<int64_t>(PagesOf(lines.high - headroom, r.page_bytes), 1);
    limit = std::min(old, r.used_pages + r.free_resident_pages - wanted);
  } else if (headroom > lines.high) {
    // Free pages that are resident cost nothing more.
    const int64_t more = (headroom - lines.high) / static_cast<int64_t>(std::max<uint64_t>(r.page_bytes, 1));
    limit = std::max(old, r.used_pages + r.free_resident_pages + more);
  }
  return std::clamp<int64_t>(limit, 0, r.total_pages);
}

// Whether the present level's reactions have been tried and are not enough.
bool IsShort(MemoryLevel level, const MemoryReading& r, const MemoryLines& lines, int64_t headroom) {
  // What running sequences may come to need stays.
  const bool nothing_to_shrink = r.idle_pages + r.free_resident_pages <= kGrowth * r.running;
  if (level == MemoryLevel::kNone) return headroom < lines.low || r.stalled >= kStalledPercent;
  if (level == MemoryLevel::kShrink && nothing_to_shrink && headroom < lines.low) return true;
  return level != MemoryLevel::kRefuse && headroom < 0;
}

bool IsCalm(MemoryLevel level, const MemoryReading& r, const MemoryLines& lines, int64_t headroom) {
  if (level >= MemoryLevel::kHold) return headroom >= lines.low / 2;
  return headroom > lines.high && r.stalled < kStalledPercent;
}

milliseconds Patience(MemoryLevel level) {
  if (level == MemoryLevel::kNone) return milliseconds(0);
  return level == MemoryLevel::kPreempt ? kRefuseAfter : kEscalateAfter;
}

}  // namespace

std::string_view MemoryLevelName(MemoryLevel level) {
  static constexpr std::array<std::string_view, kMemoryLevels> kNames = {"none", "shrink",  "spill",
                                                                         "hold", "preempt", "refuse"};
  return kNames[static_cast<size_t>(level)];
}

MemoryLines LinesFor(uint64_t budget, uint64_t total) {
  MemoryLines lines;
  lines.low = Part(budget == 0 ? total : budget, kLowPart, kLeastLow, kMostLow);
  lines.high = 2 * lines.low;
  lines.reserve = Part(total, kReservePart, kLeastReserve, kMostReserve);
  return lines;
}

int64_t Headroom(const MemoryReading& r) {
  int64_t headroom = std::numeric_limits<int64_t>::max();
  if (r.budget > 0) headroom = static_cast<int64_t>(r.budget) - static_cast<int64_t>(r.resident);
  if (r.total > 0) headroom = std::min(headroom, r.room - LinesFor(r.budget, r.total).reserve);
  return headroom;
}

MemoryState Govern(const MemoryState& before, const MemoryReading& r, MemoryClock::time_point now) {
  const MemoryLines lines = LinesFor(r.budget, r.total);
  MemoryState state = before;
  state.headroom = Headroom(r);
  const bool is_short = IsShort(before.level, r, lines, state.headroom);
  const bool is_calm = before.level != MemoryLevel::kNone && IsCalm(before.level, r, lines, state.headroom);
  if (!is_short) state.short_since = {};
  if (!is_calm) state.calm_since = {};
  if (is_short && state.short_since == MemoryClock::time_point()) state.short_since = now;
  if (is_calm && state.calm_since == MemoryClock::time_point()) state.calm_since = now;

  const auto level = static_cast<size_t>(before.level);
  if (is_short && now - state.short_since >= Patience(before.level)) {
    state.level = static_cast<MemoryLevel>(level + 1);
    ++state.entered[level + 1];
    state.short_since = state.calm_since = {};
  } else if (is_calm && now - state.calm_since >= kRecoverAfter) {
    state.level = static_cast<MemoryLevel>(level - 1);
    state.short_since = state.calm_since = {};
  }

  if (state.level == MemoryLevel::kNone) {
    state.page_limit = -1;
    state.give_back = false;
    return state;
  }
  state.page_limit = PageLimit(before, r, lines, state.headroom);
  if (state.level < MemoryLevel::kPreempt || state.headroom >= 0) {
    // What runs keeps its pages and may grow.
    const int64_t running = r.used_pages - r.idle_pages + kGrowth * r.running;
    state.page_limit = std::min(std::max(state.page_limit, running), r.total_pages);
  }
  state.give_back = state.headroom < lines.high;
  return state;
}

}  // namespace inkstone

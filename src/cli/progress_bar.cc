#include "cli/progress_bar.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "core/units.h"

namespace inkstone {

ProgressBar::ProgressBar(std::string title, bool bytes)
    : title_(std::move(title)), bytes_(bytes), terminal_(isatty(STDERR_FILENO) != 0) {}

ProgressBar::~ProgressBar() {
  if (drawn_ && terminal_) std::fputs("\r\033[K", stderr);
}

std::string ProgressBar::Line(uint64_t done, uint64_t total, double elapsed) const {
  constexpr int kWidth = 28;
  const double share = total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
  std::string line = title_ + "  ";
  for (int i = 0; i < kWidth; ++i) line += i < static_cast<int>(share * kWidth) ? "█" : "░";
  char percent[16];
  std::snprintf(percent, sizeof(percent), " %3.0f%%  ", share * 100);
  line += percent;
  const double rate = elapsed > 0 ? static_cast<double>(done) / elapsed : 0;
  line += bytes_
              ? FormatBytes(done) + " of " + FormatBytes(total) + ", " + FormatBytes(static_cast<uint64_t>(rate)) + "/s"
              : std::to_string(done) + " of " + std::to_string(total);
  if (rate > 0) line += ", " + FormatDuration(static_cast<double>(total - done) / rate) + " left";
  return line;
}

void ProgressBar::Update(uint64_t done, uint64_t total) {
  const auto now = Clock::now();
  if (now < next_) return;
  next_ = now + (terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10'000));
  const std::string line = Line(done, total, std::chrono::duration<double>(now - start_).count());
  std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", line.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace inkstone

// A progress bar on standard error for whatever takes longer than two seconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace inkstone {

// On a terminal one line that is redrawn; elsewhere a line every ten seconds. Silent for the first two seconds.
class ProgressBar {
 public:
  explicit ProgressBar(std::string title, bool bytes = false);
  ~ProgressBar();  // ends the line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Update(uint64_t done, uint64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  std::string Line(uint64_t done, uint64_t total, double elapsed) const;

  std::string title_;
  bool bytes_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_ + std::chrono::seconds(2);
};

}  // namespace inkstone

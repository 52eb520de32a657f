// Tells of trouble with the files that pages go to, and of its end. Engine thread only.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "engine/engine.h"

namespace inkstone {

class DiskWatch {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kQuiet{60};  // between two reports on the same files, however often they change

  explicit DiskWatch(DiskHook hook) : hook_(std::move(hook)) {}

  void Look(const EngineStats& stats, Clock::time_point now = Clock::now()) {
    if (!hook_) return;
    Look(PageFiles::kStore, stats.store.trouble, now);
    Look(PageFiles::kSpill, stats.spill.trouble, now);
  }

 private:
  struct Told {
    std::string trouble;
    std::optional<Clock::time_point> when;
  };

  void Look(PageFiles files, const std::string& trouble, Clock::time_point now) {
    Told& told = told_[static_cast<size_t>(files)];
    if (trouble == told.trouble || (told.when && now - *told.when < kQuiet)) return;
    told = {trouble, now};
    hook_(files, trouble);
  }

  const DiskHook hook_;
  std::array<Told, 2> told_;
};

}  // namespace inkstone

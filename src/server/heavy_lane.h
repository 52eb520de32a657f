// One after another: what takes many times its own size while it is prepared. Event-loop thread only.
#pragma once

#include <deque>
#include <functional>
#include <utility>

namespace inkstone {

class HeavyLane {
 public:
  // Calls `start` now, or once those before it have left. Each that was started calls Leave.
  void Enter(std::function<void()> start) {
    waiting_.push_back(std::move(start));
    if (!busy_) Next();
  }
  void Leave() {
    busy_ = false;
    Next();
  }

 private:
  void Next() {
    if (waiting_.empty()) return;
    busy_ = true;
    std::function<void()> start = std::move(waiting_.front());
    waiting_.pop_front();
    start();
  }

  std::deque<std::function<void()>> waiting_;
  bool busy_ = false;
};

}  // namespace inkstone

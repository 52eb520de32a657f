// How long a refused client should wait.
#pragma once

#include "engine/engine.h"

namespace inkstone {

// Event-loop thread only.
class RetryEstimate {
 public:
  // A generation has ended; these are the engine's numbers now.
  void OnFinished(const EngineStats& stats);
  // Whole seconds, 1 to 120, in which what runs and waits now is likely done: their number times the engine's working
  // time for one request, of which newer requests weigh more. Before the first has ended: what it took so far.
  int Seconds(const EngineStats& stats) const;

 private:
  double worked_ = 0;       // seconds, when the latest generation ended
  double per_request_ = 0;  // seconds
  bool any_ = false;        // a generation has ended
};

}  // namespace inkstone

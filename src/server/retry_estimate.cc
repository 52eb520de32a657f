#include "server/retry_estimate.h"

#include <algorithm>
#include <cmath>

namespace inkstone {
namespace {

// Requests share steps, so these seconds divided by requests are what one more in the queue costs.
double Worked(const EngineStats& stats) { return stats.prefill_seconds + stats.decode_seconds; }

}  // namespace

void RetryEstimate::OnFinished(const EngineStats& stats) {
  constexpr double kNewest = 0.2;
  const double seconds = std::max(Worked(stats) - worked_, 0.0);
  per_request_ = any_ ? per_request_ + kNewest * (seconds - per_request_) : seconds;
  worked_ = Worked(stats);
  any_ = true;
}

int RetryEstimate::Seconds(const EngineStats& stats) const {
  const double ahead = stats.running + stats.waiting;
  const double per_request = any_ ? per_request_ : Worked(stats) / std::max(stats.running, 1);
  return static_cast<int>(std::ceil(std::clamp(ahead * per_request, 1.0, 120.0)));
}

}  // namespace inkstone

#include "loadgen/sample_set.h"

#include <algorithm>
#include <cmath>

namespace inkstone {

double Quantile(std::span<const double> sorted, double q) {
  const double place = std::clamp(q, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(std::floor(place));
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - std::floor(place));
}

void SampleSet::Add(double sample) {
  ++count_;
  sum_ += sample;
  max_ = count_ == 1 ? sample : std::max(max_, sample);
  if (kept_.size() < limit_) {
    kept_.push_back(sample);
  } else if (const uint64_t place = draws_.Below(static_cast<uint64_t>(count_)); place < limit_) {
    kept_[place] = sample;
  }
}

Summary SampleSet::Summarize() const {
  Summary out;
  if (count_ == 0) return out;
  std::vector<double> sorted = kept_;
  std::sort(sorted.begin(), sorted.end());
  out.count = count_;
  out.mean = mean();
  out.p50 = Quantile(sorted, 0.5);
  out.p90 = Quantile(sorted, 0.9);
  out.p95 = Quantile(sorted, 0.95);
  out.p99 = Quantile(sorted, 0.99);
  out.max = max_;
  out.exact = static_cast<size_t>(count_) <= limit_;
  for (int i = 0; i < kCurvePoints; ++i) out.curve.push_back(Quantile(sorted, i / (kCurvePoints - 1.0)));
  return out;
}

}  // namespace inkstone

// Samples of one quantity, in bounded memory, and their percentiles.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "loadgen/draws.h"

namespace inkstone {

// The q-quantile (0 to 1) of sorted samples, with linear interpolation between neighbours, as numpy.percentile has it
// by default: of n samples, the one at place q * (n - 1). At least one sample.
double Quantile(std::span<const double> sorted, double q);

struct Summary {
  int64_t count = 0;  // 0: the others are 0 too
  double mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
  bool exact = true;          // false: the percentiles are those of a random sample; mean and maximum are exact anyway
  std::vector<double> curve;  // quantiles at kCurvePoints places from 0 to 1
};

// Keeps every sample up to a limit, beyond it a uniform random sample of that size (Vitter's algorithm R).
class SampleSet {
 public:
  static constexpr size_t kLimit = 1'000'000;
  static constexpr int kCurvePoints = 201;

  explicit SampleSet(size_t limit = kLimit) : limit_(limit) {}

  void Add(double sample);
  int64_t count() const { return count_; }
  double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }
  Summary Summarize() const;

 private:
  size_t limit_;
  std::vector<double> kept_;
  int64_t count_ = 0;
  double sum_ = 0;
  double max_ = 0;
  Draws draws_{0, 0};
};

}  // namespace inkstone

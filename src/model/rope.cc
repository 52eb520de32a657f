#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace inkstone {
namespace {

// The (fractional) index of the frequency that turns `rotations` times within the original context.
double CorrectionDim(const RopeConfig& c, double rotations) {
  return c.head_dim * std::log(c.yarn_original_context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(c.theta));
}

// 1 where the frequency is high enough to be kept, 0 where it is interpolated, a ramp between (Peng et al. 2023, eq.
// 18).
double YarnKeep(const RopeConfig& c, int index) {
  const double first = CorrectionDim(c, c.yarn_beta_fast);
  const double last = CorrectionDim(c, c.yarn_beta_slow);
  const double low = std::max(c.yarn_truncate ? std::floor(first) : first, 0.0);
  const double high = std::min(c.yarn_truncate ? std::ceil(last) : last, c.head_dim - 1.0);
  const double width = high == low ? 0.001 : high - low;
  return 1.0 - std::clamp((index - low) / width, 0.0, 1.0);
}

}  // namespace

RopeTable::RopeTable(const RopeConfig& c) : frequencies_(static_cast<size_t>(c.head_dim / 2)) {
  for (int i = 0; i < c.head_dim / 2; ++i) {
    const size_t at = static_cast<size_t>(i);
    double frequency = std::pow(c.theta, -2.0 * i / c.head_dim);
    if (!c.frequency_factors.empty()) frequency /= static_cast<double>(c.frequency_factors[at]);
    if (c.yarn_factor > 1) {
      const double keep = YarnKeep(c, i);
      frequency *= keep + (1 - keep) / c.yarn_factor;
    }
    frequencies_[at] = static_cast<float>(frequency / c.linear_factor);
  }
  const double usual = c.yarn_factor > 1 ? 0.1 * std::log(c.yarn_factor) + 1.0 : 1.0;
  amplitude_ = static_cast<float>(c.attention_factor * usual);
}

void RopeTable::Angles(int64_t position, float* cos, float* sin) const {
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    // The product is rounded to f32 as the models were trained with.
    const double angle = static_cast<float>(position) * frequencies_[i];
    cos[i] = static_cast<float>(std::cos(angle)) * amplitude_;
    sin[i] = static_cast<float>(std::sin(angle)) * amplitude_;
  }
}

std::vector<float> Llama3FrequencyFactors(const Llama3Scaling& s, double theta, int head_dim) {
  std::vector<float> factors(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < factors.size(); ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(theta, 2.0 * static_cast<double>(i) / head_dim);
    double factor = 1;
    if (wavelength > s.original_context / s.low_freq_factor) {
      factor = s.factor;
    } else if (wavelength >= s.original_context / s.high_freq_factor) {
      const double smooth =
          (s.original_context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
      factor = 1 / ((1 - smooth) / s.factor + smooth);
    }
    factors[i] = static_cast<float>(factor);
  }
  return factors;
}

}  // namespace inkstone

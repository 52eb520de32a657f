// Rotary position embedding (Su et al. 2021) and its extensions to longer contexts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"

namespace inkstone {

class RopeTable {
 public:
  explicit RopeTable(const RopeConfig& config);

  // cos and sin for one position: (head_dim / 2) each.
  void Angles(int64_t position, float* cos, float* sin) const;
  std::span<const float> frequencies() const { return frequencies_; }  // radians per position
  float amplitude() const { return amplitude_; }

 private:
  std::vector<float> frequencies_;  // (head_dim / 2)
  float amplitude_ = 1.0f;          // of cos and sin: YaRN's attention factor, times the model's own
};

// Llama 3's divisors of the frequencies (Grattafiori et al. 2024, as in Hugging Face's rope_type "llama3").
struct Llama3Scaling {
  double factor = 8;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  double original_context = 8192;
};
std::vector<float> Llama3FrequencyFactors(const Llama3Scaling& scaling, double theta, int head_dim);

}  // namespace inkstone

// Seeded draws that are the same with every standard library.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>

namespace inkstone {

// std::mt19937_64 and std::seed_seq are specified to the bit; the standard's distributions are not, hence these.
class Draws {
 public:
  // Different streams of one seed are independent.
  Draws(uint64_t seed, uint64_t stream) {
    std::seed_seq words{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), static_cast<uint32_t>(stream),
                        static_cast<uint32_t>(stream >> 32)};
    generator_.seed(words);
  }

  // In [0, 1), a multiple of 2^-53.
  double Unit() { return static_cast<double>(generator_() >> 11) * 0x1p-53; }
  // In [0, n); n > 0, far below 2^64.
  uint64_t Below(uint64_t n) { return generator_() % n; }
  double Exponential(double mean) { return -std::log1p(-Unit()) * mean; }

 private:
  std::mt19937_64 generator_;
};

// When the requests of an open loop are due: a Poisson process, whose gaps are exponential and independent.
class PoissonArrivals {
 public:
  // `rate` in requests per second, above 0.
  PoissonArrivals(double rate, uint64_t seed) : mean_gap_(1 / rate), draws_(seed, /*stream=*/uint64_t{1} << 63) {}

  // Seconds from the start to the next arrival; never decreases.
  double Next() { return time_ += draws_.Exponential(mean_gap_); }

 private:
  double mean_gap_;
  double time_ = 0;
  Draws draws_;
};

}  // namespace inkstone

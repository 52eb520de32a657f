// What the tests of the encoders share.
#pragma once

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "quant/codec.h"
#include "quant/grid.h"

namespace inkstone {

inline std::vector<DType> QuantizedTypes() {
  std::vector<DType> types;
  for (const DTypeInfo& info : AllDTypes()) {
    if (!IsFloat(info.type)) types.push_back(info.type);
  }
  return types;
}

inline std::string NameOf(DType type) { return std::string(Info(type).name); }

// std::normal_distribution differs among standard libraries; these are alike everywhere.
inline std::vector<float> Gaussian(size_t count, uint32_t seed, float deviation = 1.0f) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random()) / 4294967296.0;
    v = static_cast<float>(sum - 6.0) * deviation;
  }
  return values;
}

inline std::vector<std::byte> Encoded(DType type, const std::vector<float>& x,
                                      const std::vector<float>* importance = nullptr) {
  const int64_t count = static_cast<int64_t>(x.size());
  std::vector<std::byte> blocks(static_cast<size_t>(RowBytes(type, count)));
  EncodeRow(type, x.data(), count, blocks.data(), importance == nullptr ? nullptr : importance->data());
  return blocks;
}

inline std::vector<float> Decoded(DType type, const std::vector<std::byte>& blocks) {
  const DTypeInfo& info = Info(type);
  std::vector<float> values(blocks.size() / static_cast<size_t>(info.block_bytes) *
                            static_cast<size_t>(info.block_elements));
  DecodeRow(type, blocks.data(), static_cast<int64_t>(values.size()), values.data());
  return values;
}

inline std::vector<float> Coded(DType type, const std::vector<float>& x,
                                const std::vector<float>* importance = nullptr) {
  return Decoded(type, Encoded(type, x, importance));
}

// Sum of importance * (x - y)^2.
inline double SquaredError(const std::vector<float>& x, const std::vector<float>& y,
                           const std::vector<float>* importance = nullptr) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double rest = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += rest * rest * (importance == nullptr ? 1.0 : static_cast<double>((*importance)[i]));
  }
  return sum;
}

}  // namespace inkstone

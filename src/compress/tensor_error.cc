#include "compress/tensor_error.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/codec.h"

namespace inkstone {
namespace {

// Enough for the error of a type to be known within a few parts in a hundred.
constexpr int64_t kSampledWeights = int64_t{1} << 17;

}  // namespace

std::vector<std::byte> EncodeMatrix(const WeightView& source, DType type, const float* importance,
                                    ThreadPool& threads) {
  const int64_t row_bytes = RowBytes(type, source.cols);
  std::vector<std::byte> out(static_cast<size_t>(source.rows * row_bytes));
  threads.ParallelFor(source.rows, 8, [&](int64_t begin, int64_t end, int) {
    std::vector<float> values(static_cast<size_t>(source.cols));
    for (int64_t r = begin; r < end; ++r) {
      DecodeRow(source.dtype, source.row(r), source.cols, values.data());
      EncodeRow(type, values.data(), source.cols, out.data() + r * row_bytes, importance);
    }
  });
  return out;
}

std::vector<double> WeightedErrors(const WeightView& source, std::span<const DType> types, const float* importance,
                                   ThreadPool& threads) {
  const int64_t rows = std::min(source.rows, std::max<int64_t>(1, kSampledWeights / source.cols));
  const size_t count = types.size(), cols = static_cast<size_t>(source.cols);
  std::vector<double> errors(static_cast<size_t>(rows) * count);
  threads.ParallelFor(rows, 1, [&](int64_t i, int64_t, int) {
    std::vector<float> values(cols), decoded(cols);
    std::vector<std::byte> encoded(cols * sizeof(float));
    DecodeRow(source.dtype, source.row(i * source.rows / rows), source.cols, values.data());
    for (size_t t = 0; t < count; ++t) {
      double& sum = errors[static_cast<size_t>(i) * count + t];
      if (source.cols % Info(types[t]).block_elements != 0) {
        sum = std::numeric_limits<double>::quiet_NaN();
        continue;
      }
      EncodeRow(types[t], values.data(), source.cols, encoded.data(), importance);
      DecodeRow(types[t], encoded.data(), source.cols, decoded.data());
      for (size_t c = 0; c < cols; ++c) {
        const double error = static_cast<double>(values[c]) - static_cast<double>(decoded[c]);
        sum += error * error * (importance == nullptr ? 1.0 : static_cast<double>(importance[c]));
      }
    }
  });
  std::vector<double> total(count);
  for (size_t i = 0; i < errors.size(); ++i) total[i % count] += errors[i];
  return total;
}

}  // namespace inkstone

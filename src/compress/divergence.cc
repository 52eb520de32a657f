#include "compress/divergence.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace inkstone {
namespace {

constexpr size_t kBlock = 256;  // logits between two rounds of summing
constexpr size_t kLanes = 8;    // sums that run side by side, so that a compiler may use vectors
using Block = std::array<double, kBlock>;

// exp of x <= 0 within 1e-14, or of -708 below that; without calls or branches, so that loops over it become vectors.
// exp(x) = 2^n exp(r), |r| <= ln(2)/2, the latter by its series.
inline double ExpOfNegative(double x) {
  constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the lowest bits
  x = x < -708.0 ? -708.0 : x;
  const double shifted = x * 1.4426950408889634 + kRound;
  const double n = shifted - kRound;
  const double r = (x - n * 0x1.62e42fefa38p-1) - n * 0x1.ef35793c7673p-45;  // ln(2) in two parts
  double sum = 1.0 / 39916800;
  sum = sum * r + 1.0 / 3628800;
  sum = sum * r + 1.0 / 362880;
  sum = sum * r + 1.0 / 40320;
  sum = sum * r + 1.0 / 5040;
  sum = sum * r + 1.0 / 720;
  sum = sum * r + 1.0 / 120;
  sum = sum * r + 1.0 / 24;
  sum = sum * r + 1.0 / 6;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  return sum * std::bit_cast<double>((std::bit_cast<uint64_t>(shifted) << 52) + std::bit_cast<uint64_t>(1.0));
}

struct Top {
  double value = 0;
  size_t index = 0;  // the first of equals
};

Top Largest(std::span<const float> logits) {
  std::array<float, 2 * kLanes> best;
  best.fill(-std::numeric_limits<float>::infinity());
  size_t i = 0;
  for (; i + best.size() <= logits.size(); i += best.size()) {
    for (size_t l = 0; l < best.size(); ++l) best[l] = logits[i + l] > best[l] ? logits[i + l] : best[l];
  }
  for (; i < logits.size(); ++i) best[0] = std::max(best[0], logits[i]);
  const float top = *std::max_element(best.begin(), best.end());
  const auto found = std::find(logits.begin(), logits.end(), top);
  const size_t index = found == logits.end() ? 0 : static_cast<size_t>(found - logits.begin());  // all NaN
  return {static_cast<double>(top), index};
}

double Sum(const Block& values, size_t count) {
  std::array<double, kLanes> sums{};
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) sums[l] += values[i + l];
  }
  for (; i < count; ++i) sums[0] += values[i];
  double sum = 0;
  for (const double s : sums) sum += s;
  return sum;
}

double Deviation(double sum_of_squares, size_t count) {
  if (count < 2) return std::numeric_limits<double>::quiet_NaN();
  return std::sqrt(sum_of_squares / static_cast<double>(count - 1));
}

template <typename Value>
Estimate EstimateMean(std::span<const RowScore> rows, const Value& value) {
  const double count = static_cast<double>(rows.size());
  double sum = 0;
  for (const RowScore& row : rows) sum += value(row);
  const double mean = sum / count;
  double squares = 0;
  for (const RowScore& row : rows) squares += (value(row) - mean) * (value(row) - mean);
  return {mean, Deviation(squares, rows.size()) / std::sqrt(count)};
}

double Quantile(std::span<const double> sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

RowScore ScoreRow(std::span<const float> logits, int32_t next) {
  const Top top = Largest(logits);
  Block terms;
  double sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, logits.size() - begin);
    for (size_t i = 0; i < count; ++i) terms[i] = ExpOfNegative(static_cast<double>(logits[begin + i]) - top.value);
    sum += Sum(terms, count);
  }
  RowScore score;
  score.loss = std::log(sum) + top.value - static_cast<double>(logits[static_cast<size_t>(next)]);
  return score;
}

RowScore ScoreRow(std::span<const float> logits, std::span<const float> reference, int32_t next) {
  const Top top = Largest(logits);
  const Top reference_top = Largest(reference);
  Block terms;
  Block reference_terms;
  Block cross_terms;
  double sum = 0;
  double reference_sum = 0;
  double cross = 0;  // of exp(reference) (reference - model), each relative to its largest
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, logits.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      const double x = static_cast<double>(logits[begin + i]) - top.value;
      const double r = static_cast<double>(reference[begin + i]) - reference_top.value;
      terms[i] = ExpOfNegative(x);
      reference_terms[i] = ExpOfNegative(r);
      cross_terms[i] = reference_terms[i] * (r - x);
    }
    sum += Sum(terms, count);
    reference_sum += Sum(reference_terms, count);
    cross += Sum(cross_terms, count);
  }
  const double log_sum = std::log(sum);
  const double reference_log_sum = std::log(reference_sum);
  const size_t at = static_cast<size_t>(next);
  RowScore score;
  score.loss = log_sum + top.value - static_cast<double>(logits[at]);
  score.reference_loss = reference_log_sum + reference_top.value - static_cast<double>(reference[at]);
  const double kl = cross / reference_sum - reference_log_sum + log_sum;
  score.divergence = kl < 0 && std::isfinite(kl) ? 0 : kl;  // rounding can leave a tiny negative value
  score.same_top = top.index == reference_top.index;
  return score;
}

Estimate Exp(const Estimate& log) {
  const double mean = std::exp(log.mean);
  return {mean, mean * log.error};
}

Evaluation Summarize(std::span<const RowScore> rows, bool with_reference) {
  Evaluation e;
  e.scored = static_cast<int64_t>(rows.size());
  e.loss = EstimateMean(rows, [](const RowScore& r) { return r.loss; });
  if (!with_reference) return e;
  Divergence d;
  d.kl = EstimateMean(rows, [](const RowScore& r) { return r.divergence; });
  d.top1_agreement = EstimateMean(rows, [](const RowScore& r) { return r.same_top ? 1.0 : 0.0; });
  d.reference_loss = EstimateMean(rows, [](const RowScore& r) { return r.reference_loss; });
  d.loss_difference = EstimateMean(rows, [](const RowScore& r) { return r.loss - r.reference_loss; });
  std::vector<double> sorted(rows.size());
  std::transform(rows.begin(), rows.end(), sorted.begin(), [](const RowScore& r) { return r.divergence; });
  std::sort(sorted.begin(), sorted.end());
  d.median = Quantile(sorted, 0.5);
  d.p99 = Quantile(sorted, 0.99);
  e.divergence = d;
  return e;
}

}  // namespace inkstone

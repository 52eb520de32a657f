#include "compress/logit_row.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>

namespace inkstone {
namespace {

constexpr int kCodes = 65535;

size_t ExactCount(size_t vocab) { return std::min(vocab, static_cast<size_t>(kExactLogits)); }

template <typename T>
void Put(std::byte* at, size_t index, T value) {
  std::memcpy(at + index * sizeof(T), &value, sizeof(T));
}

template <typename T>
T Get(const std::byte* at, size_t index) {
  T value;
  std::memcpy(&value, at + index * sizeof(T), sizeof(T));
  return value;
}

// Where the parts of an encoded row begin.
template <typename Byte>
struct Parts {
  Parts(std::span<Byte> bytes, size_t vocab)
      : indices(bytes.data()),
        values(indices + ExactCount(vocab) * sizeof(uint32_t)),
        scale(values + ExactCount(vocab) * sizeof(float)),
        codes(scale + 2 * sizeof(float)) {}
  Byte* indices;
  Byte* values;
  Byte* scale;  // top and step of the inexact logits
  Byte* codes;
};

// The smallest logit that is kept exactly.
struct Border {
  float value = 0;
  size_t exact_equals = 0;  // how many logits of this value are kept exactly
  float top = 0;            // no inexact logit is above it
};

Border FindBorder(std::span<const float> logits, std::span<float> scratch) {
  const size_t exact = ExactCount(logits.size());
  // As many stretches as there are exact logits have a largest value of at least `bound`: so have that many logits.
  const size_t stretch = std::max<size_t>(1, logits.size() / (4 * static_cast<size_t>(kExactLogits)));
  size_t count = 0;
  for (size_t begin = 0; begin < logits.size(); begin += stretch) {
    const auto part = logits.subspan(begin, std::min(stretch, logits.size() - begin));
    float largest = part.front();
    for (const float v : part) largest = v > largest ? v : largest;
    scratch[count++] = largest;
  }
  const auto nth = scratch.begin() + static_cast<std::ptrdiff_t>(exact) - 1;
  std::nth_element(scratch.begin(), nth, scratch.begin() + static_cast<std::ptrdiff_t>(count), std::greater<>());
  const float bound = *nth;
  const auto end = std::copy_if(logits.begin(), logits.end(), scratch.begin(), [&](float v) { return v >= bound; });
  std::nth_element(scratch.begin(), nth, end, std::greater<>());
  Border border;
  border.value = *nth;
  border.exact_equals = static_cast<size_t>(std::count(scratch.begin(), nth + 1, border.value));
  border.top = nth + 1 == end ? bound : *std::max_element(nth + 1, end);
  return border;
}

}  // namespace

size_t EncodedLogitBytes(int64_t vocab) {
  const size_t count = static_cast<size_t>(vocab);
  return ExactCount(count) * (sizeof(uint32_t) + sizeof(float)) + 2 * sizeof(float) + count * sizeof(uint16_t);
}

void EncodeLogits(std::span<const float> logits, std::span<float> scratch, std::span<std::byte> out) {
  const Parts<std::byte> parts(out, logits.size());
  const Border border = FindBorder(logits, scratch);
  const float top = border.top;
  const float lowest = *std::min_element(logits.begin(), logits.end());
  const double range = static_cast<double>(top) - static_cast<double>(lowest);
  const float step = static_cast<float>(std::clamp(range, 0.0, kLogitTailNats) / kCodes);
  Put(parts.scale, 0, top);
  Put(parts.scale, 1, step);
  const double codes_per_nat = step > 0 ? 1.0 / static_cast<double>(step) : 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double code = (static_cast<double>(top) - static_cast<double>(logits[i])) * codes_per_nat;
    Put(parts.codes, i, static_cast<uint16_t>(static_cast<int>(std::clamp(code, 0.0, double{kCodes}) + 0.5)));
  }
  size_t equals = border.exact_equals;
  for (size_t i = 0, head = 0; i < logits.size(); ++i) {
    if (logits[i] < border.value) continue;
    if (logits[i] == border.value) {
      if (equals == 0) continue;  // the first ones in the row are exact, no others
      --equals;
    }
    Put(parts.indices, head, static_cast<uint32_t>(i));
    Put(parts.values, head++, logits[i]);
  }
}

Status DecodeLogits(std::span<const std::byte> in, std::span<float> logits) {
  const Parts<const std::byte> parts(in, logits.size());
  const float top = Get<float>(parts.scale, 0);
  const float step = Get<float>(parts.scale, 1);
  if (!std::isfinite(top) || !(step >= 0) || !(step <= static_cast<float>(kLogitTailNats))) {
    return DataLoss("expected a finite logit and a step from 0 to " + std::to_string(static_cast<int>(kLogitTailNats)) +
                    ", found " + std::to_string(top) + " and " + std::to_string(step));
  }
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = top - step * static_cast<float>(Get<uint16_t>(parts.codes, i));
  }
  for (size_t i = 0; i < ExactCount(logits.size()); ++i) {
    const uint32_t index = Get<uint32_t>(parts.indices, i);
    const float value = Get<float>(parts.values, i);
    if (index >= logits.size() || !std::isfinite(value)) {
      return DataLoss("expected a finite logit below index " + std::to_string(logits.size()) + ", found " +
                      std::to_string(value) + " at " + std::to_string(index));
    }
    logits[index] = value;
  }
  return Status::Ok();
}

}  // namespace inkstone

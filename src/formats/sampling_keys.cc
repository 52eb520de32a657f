#include "formats/sampling_keys.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <sstream>

#include "formats/tensor_layout.h"

namespace inkstone {
namespace {

constexpr double kMostTopK = 1 << 24;    // no vocabulary has more
constexpr double kLowestHeat = 1e-4;     // temperatures below it are greedy
constexpr double kLikeliestOnly = 1e-6;  // what top_p 0 means

std::string NumberText(double value) {
  std::ostringstream out;
  out.precision(10);
  out << value;
  return out.str();
}

std::optional<double> TextNumber(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<double> NumberOf(const MetaValue& value) {
  if (const auto* i = std::get_if<int64_t>(&value.value)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&value.value)) return *d;
  if (const auto* text = std::get_if<std::string_view>(&value.value)) return TextNumber(*text);
  return std::nullopt;
}

std::string Found(const MetaValue& value) {
  if (const auto* flag = std::get_if<bool>(&value.value)) return *flag ? "true" : "false";
  if (const auto* text = std::get_if<std::string_view>(&value.value)) return Quote(*text);
  const std::optional<double> number = NumberOf(value);
  return number ? NumberText(*number) : "an array";
}

// The nearest number that the samplers know, for one outside their range; nothing where there is none.
std::optional<double> Meaning(const SamplingKey& key, double number) {
  if (!std::isfinite(number)) return std::nullopt;
  if (key.whole && number != std::floor(number)) return std::nullopt;
  if (key.hf == "temperature" && number >= 0 && number < kLowestHeat) return 0.0;
  if (key.hf == "top_p" && number == 0) return kLikeliestOnly;
  if (number >= key.lowest && number <= key.highest) return number;
  // -1 and the like switch a sampler off, and so does a share or a count above all there is.
  if (key.hf != "temperature" && key.hf != "repetition_penalty") return key.off;
  return std::nullopt;
}

}  // namespace

std::span<const SamplingKey> SamplingKeys() {
  static constexpr std::array<SamplingKey, 5> kKeys = {{
      {"temperature", "temp", 0.0, 100.0, 1.0, false},
      {"top_p", "top_p", kLikeliestOnly, 1.0, 1.0, false},
      {"min_p", "min_p", 0.0, 1.0, 0.0, false},
      {"repetition_penalty", "penalty_repeat", 1e-3, 100.0, 1.0, false},
      {"top_k", "top_k", 0.0, kMostTopK, 0.0, true},
  }};
  return kKeys;
}

std::optional<double> ReadSampling(const SamplingKey& key, const MetaValue& value, const std::string& where,
                                   std::vector<std::string>* warnings) {
  const std::optional<double> number = NumberOf(value);
  const std::optional<double> meaning = number ? Meaning(key, *number) : std::nullopt;
  const bool text = std::holds_alternative<std::string_view>(value.value);
  if (meaning && *meaning == *number && !text) return meaning;
  warnings->push_back(where + ": expected " + (key.whole ? "an integer" : "a number") + " from " +
                      NumberText(key.lowest) + " to " + NumberText(key.highest) + ", found " + Found(value) +
                      (meaning ? "; " + NumberText(*meaning) + " is taken" : "; it is left out"));
  return meaning;
}

}  // namespace inkstone

#include "engine/request.h"

#include <cmath>
#include <cstdio>

namespace inkstone {
namespace {

std::string Text(float value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", static_cast<double>(value));
  return text;
}

Status Outside(const char* field, const char* expected, const std::string& found) {
  return InvalidArgument(std::string(field) + " must be " + expected + ", found " + found);
}

}  // namespace

Status SamplingParams::Validate(int32_t vocab) const {
  // Written so that NaN fails.
  if (!(temperature >= 0 && temperature <= 100)) {
    return Outside("temperature", "0 (greedy) to 100", Text(temperature));
  }
  if (temperature > 0 && temperature < 1e-4f) {
    return Outside("temperature", "0 (greedy) or at least 0.0001", Text(temperature));
  }
  if (top_k < 0) return Outside("top_k", "0 (off) or more", std::to_string(top_k));
  if (!(top_p > 0 && top_p <= 1)) return Outside("top_p", "above 0 and at most 1", Text(top_p));
  if (!(min_p >= 0 && min_p <= 1)) return Outside("min_p", "0 to 1", Text(min_p));
  if (!(typical_p > 0 && typical_p <= 1)) return Outside("typical_p", "above 0 and at most 1", Text(typical_p));
  if (!(repetition_penalty > 0 && repetition_penalty <= 100)) {
    return Outside("repetition_penalty", "above 0 and at most 100", Text(repetition_penalty));
  }
  if (!(std::abs(presence_penalty) <= 100)) {
    return Outside("presence_penalty", "-100 to 100", Text(presence_penalty));
  }
  if (!(std::abs(frequency_penalty) <= 100)) {
    return Outside("frequency_penalty", "-100 to 100", Text(frequency_penalty));
  }
  if (penalty_window < 0) return Outside("penalty_window", "0 (all) or more", std::to_string(penalty_window));
  for (const auto& [token, bias] : logit_bias) {
    if (token < 0 || token >= vocab) {
      const std::string expected = "a token id below " + std::to_string(vocab);
      return Outside("logit_bias", expected.c_str(), std::to_string(token));
    }
    if (!std::isfinite(bias)) return Outside("logit_bias", "finite", Text(bias));
  }
  return Status::Ok();
}

}  // namespace inkstone

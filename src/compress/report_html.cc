#include "compress/report_html.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "tokenizer/unicode.h"

namespace inkstone {
namespace {

template <typename... Values>
std::string Print(const char* format, Values... values) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

}  // namespace

std::string Html(std::string_view text) {
  std::string out;
  for (const char c : unicode::ReplaceIllFormed(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        // XML, and so SVG, has no other control characters.
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? ' ' : c;
    }
  }
  return out;
}

std::string SmallNumber(double value) {
  if (!std::isfinite(value)) return "unknown";
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size < 1e-3) {
    std::string text = Print("%.1e", value);
    const size_t exponent = text.find("e-0");  // "3.1e-05"
    if (exponent != std::string::npos) text.erase(exponent + 2, 1);
    return text;
  }
  const int before = size < 1 ? 0 : static_cast<int>(std::floor(std::log10(size))) + 1;
  if (before > 0) return Fixed(value, before < 3 ? 3 - before : 0);
  return Fixed(value, size < 0.01 ? 5 : size < 0.1 ? 4 : 3);
}

std::string WithError(double value, double error) {
  if (!(error > 0) || !std::isfinite(error)) return SmallNumber(value);
  const std::string between = " \u00b1 ";
  if (std::abs(value) < 1e-3) return SmallNumber(value) + between + SmallNumber(error);
  const int decimals = std::max(0, static_cast<int>(std::ceil(std::log10(3 / error))));
  return Fixed(value, decimals) + between + Fixed(error, decimals);
}

std::string Fixed(double value, int decimals) {
  return std::isfinite(value) ? Print("%.*f", decimals, value) : "unknown";
}

std::string Grouped(int64_t value) {
  std::string text = std::to_string(value);
  const size_t first = value < 0 ? 1 : 0;
  for (size_t at = text.size(); at > first + 3;) text.insert(at -= 3, 1, ',');
  return text;
}

}  // namespace inkstone

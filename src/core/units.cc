#include "core/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

namespace inkstone {

std::string FormatBytes(uint64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f %s", decimals, value, kUnits[unit]);
  return text;
}

Result<uint64_t> ParseBytes(std::string_view text) {
  const auto fail = [&] {
    return InvalidArgument("expected a size such as 2.4GiB or 512MB, found '" + std::string(text) + "'");
  };
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !(number >= 0)) return fail();
  std::string unit;
  for (const char* p = end; p != text.data() + text.size(); ++p) {
    if (*p != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*p)));
  }
  double factor = 1;
  if (!unit.empty() && unit != "b") {
    const size_t power = std::string_view("kmgt").find(unit[0]);
    const std::string rest = unit.substr(1);
    if (power == std::string_view::npos || !(rest.empty() || rest == "b" || rest == "i" || rest == "ib")) return fail();
    factor = std::pow(rest.rfind('i', 0) == 0 ? 1024.0 : 1000.0, static_cast<double>(power + 1));
  }
  const double bytes = std::round(number * factor);
  if (!(bytes < 9.2e18)) return fail();
  return static_cast<uint64_t>(bytes);
}

Result<double> ParseDuration(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 5> kFactors = {
      {{"", 1}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}}};
  double number = 0;
  const char* const stop = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), stop, number);
  if (error == std::errc() && number >= 0 && number < 1e9) {
    for (const auto& [unit, factor] : kFactors) {
      if (unit == std::string_view(end, static_cast<size_t>(stop - end))) return number * factor;
    }
  }
  return InvalidArgument("expected a time such as 200ms, 60s or 5m, found '" + std::string(text) + "'");
}

std::string FormatDuration(double seconds) {
  const int64_t total = static_cast<int64_t>(std::max(0.0, seconds) + 0.5);
  char text[32];
  if (total >= 3600) {
    std::snprintf(text, sizeof(text), "%d:%02d:%02d", static_cast<int>(total / 3600), static_cast<int>(total / 60 % 60),
                  static_cast<int>(total % 60));
  } else {
    std::snprintf(text, sizeof(text), "%d:%02d", static_cast<int>(total / 60), static_cast<int>(total % 60));
  }
  return text;
}

}  // namespace inkstone

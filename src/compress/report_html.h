// Pieces of the HTML report. For report*.cc only.
#pragma once

#include <string>
#include <string_view>

#include "compress/report.h"

namespace inkstone {

// Text for element content and quoted attributes: escaped, well-formed UTF-8. Every string of a story goes through it.
std::string Html(std::string_view text);

// "0.0312", "3.1e-5": three significant digits, for divergences.
std::string SmallNumber(double value);
// "0.0312 ± 0.0007": decimals down to the error's first digit, or to its second where the first is 1 or 2.
// Without an error the value alone.
std::string WithError(double value, double error);
// Fixed decimals: Fixed(12.345, 2) is "12.35".
std::string Fixed(double value, int decimals);
// "12,345,678".
std::string Grouped(int64_t value);

template <typename... Parts>
void Append(std::string* out, const Parts&... parts) {
  (out->append(parts), ...);
}

// Sections, each a complete <section> element; empty without their data.
std::string SizeSection(const CompressionStory& story);
std::string SensitivitySection(const CompressionStory& story);
std::string CurveSection(const CompressionStory& story);

}  // namespace inkstone

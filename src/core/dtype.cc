#include "core/dtype.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace inkstone {
namespace {

constexpr std::array<DTypeInfo, 15> kTypes = {{
    {DType::kF32, "F32", 1, 4},
    {DType::kF16, "F16", 1, 2},
    {DType::kQ4_0, "Q4_0", 32, 18},
    {DType::kQ4_1, "Q4_1", 32, 20},
    {DType::kQ5_0, "Q5_0", 32, 22},
    {DType::kQ5_1, "Q5_1", 32, 24},
    {DType::kQ8_0, "Q8_0", 32, 34},
    {DType::kQ2_K, "Q2_K", 256, 84},
    {DType::kQ3_K, "Q3_K", 256, 110},
    {DType::kQ4_K, "Q4_K", 256, 144},
    {DType::kQ5_K, "Q5_K", 256, 176},
    {DType::kQ6_K, "Q6_K", 256, 210},
    {DType::kIQ4_NL, "IQ4_NL", 32, 18},
    {DType::kIQ4_XS, "IQ4_XS", 256, 136},
    {DType::kBF16, "BF16", 1, 2},
}};

}  // namespace

const DTypeInfo& Info(DType type) {
  // A DType is only made from DTypeFromGguf/DTypeFromName or an enumerator, so the search always hits.
  return *std::find_if(kTypes.begin(), kTypes.end() - 1, [&](const DTypeInfo& t) { return t.type == type; });
}

DTypeRange AllDTypes() { return {kTypes.data(), kTypes.data() + kTypes.size()}; }

std::optional<DType> DTypeFromGguf(uint32_t number) {
  for (const DTypeInfo& t : kTypes) {
    if (static_cast<uint32_t>(t.type) == number) return t.type;
  }
  return std::nullopt;
}

std::optional<DType> DTypeFromName(std::string_view name) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
  for (const DTypeInfo& t : kTypes) {
    if (t.name == upper) return t.type;
  }
  return std::nullopt;
}

}  // namespace inkstone

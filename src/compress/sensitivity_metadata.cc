#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "compress/sensitivity.h"

namespace inkstone {
namespace {

constexpr std::string_view kTensorsKey = "inkstone.sensitivity.tensors";
constexpr std::string_view kTypesKey = "inkstone.sensitivity.types";
constexpr std::string_view kDivergenceKey = "inkstone.sensitivity.divergence";
constexpr std::string_view kTokensKey = "inkstone.sensitivity.tokens";

}  // namespace

void AddSensitivity(const SensitivityTable& table, Metadata* metadata) {
  std::vector<std::string> types;
  for (const DType type : table.types) types.emplace_back(Info(type).name);
  metadata->SetStrings(kTensorsKey, table.tensors);
  metadata->SetStrings(kTypesKey, types);
  metadata->SetF32s(kDivergenceKey, table.divergence);
  metadata->SetView(kTokensKey, MetaValue{MetaType::kI64, table.tokens});
}

Result<SensitivityTable> ReadSensitivity(const Metadata& metadata) {
  SensitivityTable table;
  if (metadata.Find(kTensorsKey) == nullptr) return table;
  INK_ASSIGN_OR_RETURN(const auto tensors, metadata.GetStrings(kTensorsKey));
  // A key that is missing beside the others is damage, not absence.
  const auto damaged = [](const Status& s) { return s.ok() ? s : DataLoss(s.message()); };
  const auto types = metadata.GetStrings(kTypesKey);
  const auto divergence = metadata.GetFloats(kDivergenceKey);
  const auto tokens = metadata.GetInt(kTokensKey);
  for (const Status& s : {types.status(), divergence.status(), tokens.status()}) INK_RETURN_IF_ERROR(damaged(s));
  if (divergence->size() != tensors.size() * types->size()) {
    return DataLoss(metadata.source() + ": " + std::string(kDivergenceKey) + ": expected " +
                    std::to_string(tensors.size()) + " x " + std::to_string(types->size()) + " values, found " +
                    std::to_string(divergence->size()));
  }
  if (*tokens < 0) {
    return DataLoss(metadata.source() + ": " + std::string(kTokensKey) + ": expected at least 0, found " +
                    std::to_string(*tokens));
  }
  table.tensors.assign(tensors.begin(), tensors.end());
  for (const std::string_view name : *types) {
    const std::optional<DType> type = DTypeFromName(name);
    if (!type) {
      return DataLoss(metadata.source() + ": " + std::string(kTypesKey) + ": expected names of tensor types, found '" +
                      std::string(name) + "'");
    }
    table.types.push_back(*type);
  }
  for (const double value : *divergence) table.divergence.push_back(static_cast<float>(value));
  table.tokens = *tokens;
  return table;
}

}  // namespace inkstone

#include "cli/sensitivity_table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "compress/tensor_place.h"
#include "core/printable.h"

namespace inkstone {
namespace {

constexpr size_t kColumn = 16;  // "IQ4_XS 1.2e-05", and a gap
constexpr size_t kColumnsInRow = 7;

// The type's name in the file; empty for a tensor that is not in it.
std::string_view TypeIn(const Checkpoint& checkpoint, const std::string& name) {
  const TensorInfo* tensor = checkpoint.Find(name);
  return tensor == nullptr ? std::string_view() : Info(tensor->dtype).name;
}

// "Q4_K 1.2e-05".
std::string CellText(const SensitivityTable& table, const Checkpoint& checkpoint, size_t row) {
  const TensorInfo* tensor = checkpoint.Find(table.tensors[row]);
  if (tensor == nullptr) return "-";
  const std::string name(Info(tensor->dtype).name);
  const auto type = std::find(table.types.begin(), table.types.end(), tensor->dtype);
  if (type == table.types.end()) return name + " -";
  const float value = table.at(row, static_cast<size_t>(type - table.types.begin()));
  if (!std::isfinite(value)) return name + " -";
  char text[32];
  std::snprintf(text, sizeof(text), " %.1e", static_cast<double>(value));
  return name + text;
}

std::string Padded(std::string text, size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

// Long kinds are cut: a hostile name must not break the columns.
std::string Heading(const std::string& kind) { return Padded(Printable(kind).substr(0, kColumn - 1), kColumn); }

}  // namespace

std::string SensitivityText(const SensitivityTable& table, const Checkpoint& checkpoint) {
  std::map<std::pair<int, std::string>, size_t> rows;
  std::set<int> layers;
  for (size_t i = 0; i < table.tensors.size(); ++i) {
    const TensorPlace place = PlaceOf(table.tensors[i]);
    rows[{place.layer, place.kind}] = i;
    if (place.layer >= 0) layers.insert(place.layer);
  }
  std::string out = "sensitivity: type, and mean KL divergence in nats with this tensor alone in it (" +
                    std::to_string(table.tokens) + " positions)\n";
  for (const bool in_layers : {false, true}) {
    const std::vector<std::string> kinds = KindsOf(table.tensors, in_layers);
    for (size_t first = 0; first < kinds.size(); first += kColumnsInRow) {
      const size_t last = std::min(first + kColumnsInRow, kinds.size());
      out += in_layers ? "layer  " : "       ";
      for (size_t k = first; k < last; ++k) out += Heading(kinds[k]);
      out += '\n';
      for (const int layer : in_layers ? layers : std::set<int>{-1}) {
        out += Padded(in_layers ? std::to_string(layer) : "", 7);
        for (size_t k = first; k < last; ++k) {
          const auto it = rows.find({layer, kinds[k]});
          out += Padded(it == rows.end() ? "" : CellText(table, checkpoint, it->second), kColumn);
        }
        out += '\n';
      }
    }
  }
  return out;
}

void WriteSensitivity(const SensitivityTable& table, const Checkpoint& checkpoint, JsonWriter* json) {
  json->BeginObject().Field("tokens", table.tokens).Key("types").BeginArray();
  for (const DType type : table.types) json->Value(Info(type).name);
  json->EndArray().Key("tensors").BeginArray();
  for (size_t i = 0; i < table.tensors.size(); ++i) {
    json->BeginObject().Field("name", table.tensors[i]).Field("type", TypeIn(checkpoint, table.tensors[i]));
    json->Key("divergence").BeginArray();
    for (size_t t = 0; t < table.types.size(); ++t) {
      const float value = table.at(i, t);
      std::isfinite(value) ? json->Value(value) : json->Null();
    }
    json->EndArray().EndObject();
  }
  json->EndArray().EndObject();
}

}  // namespace inkstone

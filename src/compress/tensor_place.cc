#include "compress/tensor_place.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>

namespace inkstone {
namespace {

constexpr std::array<std::string_view, 9> kOrder = {"token_embd", "attn_q", "attn_k",   "attn_v", "attn_output",
                                                    "ffn_gate",   "ffn_up", "ffn_down", "output"};

// Position in the forward pass; unknown kinds come after all others.
size_t Rank(std::string_view kind) {
  return static_cast<size_t>(std::find(kOrder.begin(), kOrder.end(), kind) - kOrder.begin());
}

}  // namespace

TensorPlace PlaceOf(std::string_view name) {
  TensorPlace place;
  constexpr std::string_view kLayer = "blk.";
  if (name.starts_with(kLayer)) {
    const char* const end = name.data() + name.size();
    int layer = -1;
    const auto [rest, error] = std::from_chars(name.data() + kLayer.size(), end, layer);
    if (error == std::errc() && layer >= 0 && rest != end && *rest == '.') {
      place.layer = layer;
      name.remove_prefix(static_cast<size_t>(rest + 1 - name.data()));
    }
  }
  constexpr std::string_view kWeight = ".weight";
  if (name.ends_with(kWeight)) name.remove_suffix(kWeight.size());
  place.kind = name;
  return place;
}

std::vector<std::string> KindsOf(const std::vector<std::string>& tensors, bool in_layers) {
  std::vector<std::string> kinds;
  for (const std::string& tensor : tensors) {
    TensorPlace place = PlaceOf(tensor);
    if ((place.layer >= 0) != in_layers) continue;
    if (std::find(kinds.begin(), kinds.end(), place.kind) == kinds.end()) kinds.push_back(std::move(place.kind));
  }
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const std::string& a, const std::string& b) { return Rank(a) < Rank(b); });
  return kinds;
}

}  // namespace inkstone

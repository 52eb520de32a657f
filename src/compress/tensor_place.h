// Where a tensor sits in the model, read from its GGUF name: for tables of layers by kinds.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace inkstone {

struct TensorPlace {
  int layer = -1;    // -1: outside the layers
  std::string kind;  // "attn_q" of "blk.3.attn_q.weight", "token_embd" of "token_embd.weight", "attn_q.bias" of a bias
};

// Any name has a place: one of another form is its own kind outside the layers.
TensorPlace PlaceOf(std::string_view name);

// The kinds of these tensors in the order of the forward pass (embedding, attention, feed-forward, output), unknown
// ones last in the order given; each once. `in_layers` chooses between those of layers and those outside.
std::vector<std::string> KindsOf(const std::vector<std::string>& tensors, bool in_layers);

}  // namespace inkstone

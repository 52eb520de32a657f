// Which tensors a compressed file holds, in which order and type, and where their values come from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "compress/recipe.h"
#include "core/status.h"
#include "formats/checkpoint.h"

namespace inkstone {

struct PlannedTensor {
  TensorInfo output;                   // name, dtype, shape and bytes in the result
  const TensorInfo* source = nullptr;  // null: the values are `values`
  std::vector<float> values;           // (elements) of a tensor that the source does not have
  // 0: elements in the source's order. Else the rows (elements of a vector) form this many heads [2, d/2], written as
  // [d/2, 2]: GGUF's row order of Llama's Q and K, whose RoPE turns neighbours.
  int64_t interleaved_heads = 0;

  int64_t elements() const;
  // The source's index of element `index` of the result.
  int64_t SourceIndex(int64_t index) const;
};

struct OutputPlan {
  std::vector<PlannedTensor>
      tensors;  // embedding, layers in ascending order, the rest: the order in which they are read
  uint64_t tensor_bytes = 0;
  int64_t parameters = 0;
};

// `removed_layers`, ascending, are left out, and those after them move up. Matrices as `types` says, which knows every
// matrix of `checkpoint`; vectors as F32. `checkpoint` must outlive the plan. Errors: kDataLoss for metadata that does
// not fit the tensors, and where there are none.
Result<OutputPlan> PlanOutput(const Checkpoint& checkpoint, const TypePlan& types,
                              std::span<const int> removed_layers = {});

// Metadata of the result: the source's, tokenizer included where that is a GGUF file, with what describes tensors and
// container made that of the result. Views strings of `checkpoint`.
Metadata PlanMetadata(const Checkpoint& checkpoint, const TypePlan& types, std::span<const int> removed_layers = {});

}  // namespace inkstone

// Encodes a matrix so that later columns make up for the rounding of earlier ones (GPTQ, Frantar et al. 2023).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backends/backend.h"
#include "compress/gram.h"
#include "core/dtype.h"

namespace inkstone {

struct FeedbackMatrix {
  DType type = DType::kQ4_0;
  Rows x;                             // (rows, cols) values; used up: they come back with feedback added
  const float* importance = nullptr;  // (cols) or null
  std::span<const GramMatrix> grams;  // factorized, of all columns of x in order
  std::byte* out = nullptr;           // (rows, RowBytes(type, cols))
};

// For a `product` of at least x.rows rows and kGramTile columns. The result does not depend on the number of threads,
// nor on how a matrix is cut into ranges of rows.
void EncodeWithFeedback(const FeedbackMatrix& matrix, ThreadPool& threads, const DenseProduct& product);

}  // namespace inkstone

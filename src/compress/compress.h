// Rewrites a checkpoint as a GGUF file of one tensor type, streamed: memory stays at a few slices of one tensor.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compress/progress.h"
#include "core/dtype.h"
#include "core/status.h"
#include "core/thread_pool.h"

namespace inkstone {

struct CompressOptions {
  std::string source;            // Hugging Face folder, or GGUF file of any readable type
  std::string output;            // GGUF file; an existing one is replaced when the new one is complete
  DType type = DType::kQ8_0;     // of every matrix, embedding and output included: F32, F16, BF16, Q8_0, Q4_0 or Q4_1
  int threads = 0;               // encoding threads; 0: one for each physical core that this process may use
  bool allow_nonfinite = false;  // write NaN and infinities as 0 and count them, instead of failing
  bool skip_tokenizer = false;   // leave the tokenizer of a Hugging Face folder out: the result cannot be served
};

struct CompressReport {
  int64_t parameters = 0;
  uint64_t source_bytes = 0;          // of tensor data
  uint64_t tensor_bytes = 0;          // of tensor data in the result
  uint64_t file_bytes = 0;            // of the whole result
  int64_t nonfinite_replaced = 0;     // values written as 0
  std::vector<std::string> kept_f16;  // tensors whose columns are no multiple of the type's block: written as F16
  double bits_per_weight() const { return 8.0 * static_cast<double>(tensor_bytes) / static_cast<double>(parameters); }
};

// Vectors (norms, biases) are written as F32, as llama.cpp expects them; matrices as options.type. A tensor that has
// the wanted type already is copied bit for bit. The result does not depend on the number of threads.
// `progress` is called on the calling thread after every slice.
// Errors: kInvalidArgument (a type that cannot be written, output is the source or a folder), kResourceExhausted
// (disk), kDataLoss (a NaN, an infinity, or a value beyond the type's range: names tensor, index and value), and those
// of Checkpoint::Open and Tokenizer::Load. The output file is not touched on error.
Result<CompressReport> Compress(const CompressOptions& options, FunctionRef<void(const Progress&)> progress);

// The type behind a preset's name: "int8" is Q8_0. kInvalidArgument with the known names.
Result<DType> PresetType(std::string_view preset);

}  // namespace inkstone

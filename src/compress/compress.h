// Rewrites a checkpoint as a smaller GGUF file, streamed: memory stays at a few slices of one tensor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/importance.h"
#include "compress/layer_feedback.h"
#include "compress/progress.h"
#include "compress/recipe.h"
#include "core/dtype.h"
#include "core/locked_file.h"
#include "core/status.h"
#include "core/thread_pool.h"
#include "formats/checkpoint.h"

namespace inkstone {

struct CompressOptions {
  std::string source;                     // Hugging Face folder, or GGUF file of any readable type
  std::string output;                     // GGUF file; an existing one is replaced when the new one is complete
  std::vector<std::string> side_outputs;  // what the caller writes beside it: reports and the like
  Recipe recipe;                 // which type each matrix gets; vectors (norms, biases) are F32, as llama.cpp expects
  std::string importance;        // imatrix file whose column weights the quantizers use; empty: none
  int threads = 0;               // encoding threads; 0: one for each physical core that this process may use
  bool allow_nonfinite = false;  // write NaN and infinities as 0 and count them, instead of failing
  bool skip_tokenizer = false;   // leave the tokenizer of a Hugging Face folder out: the result cannot be served
  bool dry_run = false;          // report what the result would be, write nothing; `output` may be empty
  bool resume = false;           // go on with what an interrupted run left
  // Result bytes between two notes of how far it is, each of which waits for the disk.
  uint64_t resume_step = uint64_t{64} << 20;
};

// Tensors of one kind and type.
struct TensorGroup {
  std::string kind;  // "ffn_down.weight": the name without its layer
  DType type = DType::kF32;
  int64_t tensors = 0;
  int64_t elements = 0;
  uint64_t bytes = 0;
};

struct CompressReport {
  int64_t parameters = 0;
  uint64_t source_bytes = 0;            // of tensor data
  uint64_t tensor_bytes = 0;            // of tensor data in the result
  uint64_t file_bytes = 0;              // of the whole result
  uint32_t file_type = 0;               // general.file_type of the result
  uint64_t resumed_bytes = 0;           // of tensor data that an interrupted run had written
  int64_t nonfinite_replaced = 0;       // values written as 0
  std::vector<TypeFallback> fallbacks;  // matrices whose columns are no multiple of the wanted type's block
  std::vector<TensorInfo> tensors;      // of the result: name, type, shape and bytes
  std::vector<TensorGroup> groups;      // in the order of their first tensor in the file
  std::vector<TensorGroup> types;       // totals of each type, `kind` empty; most bytes first
  double bits_per_weight() const { return 8.0 * static_cast<double>(tensor_bytes) / static_cast<double>(parameters); }
};

// What a rewrite is made of, for those who choose types or measure importance themselves.
struct CompressPlan {
  TypePlan types;  // of every matrix of the checkpoint
  Importance
      importance;  // weights of the columns; empty: none. Else of every quantized matrix but embedding and output
  // Added to the metadata of the result, where it wins over the source's keys.
  Metadata metadata;
  LayerFeedback* feedback =
      nullptr;                      // encodes the quantized matrices of layers; null: each weight is rounded by itself
  std::vector<int> removed_layers;  // ascending; those after them move up
};

// The output, for this run alone until the claim is given up; nothing for a dry run. kInvalidArgument for an output, or
// a side output, that is a file of the source, a folder, device, pipe or socket; kUnavailable while another run has it.
Result<std::optional<OutputLock>> ClaimOutput(const CompressOptions& options, const Checkpoint& checkpoint);

// What can be known before the work begins: kResourceExhausted where the disk has no room for a file of `file_bytes`
// bytes beside what an interrupted run left.
Status CheckOutput(const CompressOptions& options, uint64_t file_bytes);

// Opens the source, plans by options.recipe, reads options.importance and rewrites. A tensor that has the wanted type
// already is copied bit for bit. The result does not depend on the number of threads.
// `progress` is called on the calling thread after every slice.
//
// "<output>.part" grows until it is complete. A killed run leaves it with a journal, "<output>.part.json", and so does
// one that found the disk full; with `resume`, the same source and the same options, the next run goes on after the
// last tensor noted there, and the result is the same to the byte. Any other failure removes both.
//
// Errors: kInvalidArgument (output is the source or a folder; nothing to resume, or not with these inputs),
// kResourceExhausted (disk), kDataLoss (a NaN, an infinity, or a value beyond the type's range: names tensor, index and
// value; importance that does not fit a tensor), and those of PlanTypes, ReadImportance, Checkpoint::Open and
// Tokenizer::Load. The output file is not touched on error.
Result<CompressReport> Compress(const CompressOptions& options, FunctionRef<void(const Progress&)> progress);

// The same with a plan made by the caller: options.recipe is not looked at, and options.importance only names where
// plan.importance comes from in messages.
Result<CompressReport> CompressAs(const CompressOptions& options, const Checkpoint& checkpoint,
                                  const CompressPlan& plan, FunctionRef<void(const Progress&)> progress);

}  // namespace inkstone

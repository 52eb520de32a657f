// A model on disk, whatever its format: metadata, tensor descriptors and mapped bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/dtype.h"
#include "core/mapped_file.h"
#include "core/status.h"
#include "formats/metadata.h"

namespace inkstone {

struct TensorInfo {
  std::string name;  // GGUF name: "token_embd.weight", "blk.3.attn_q.weight", "output.weight", ...
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // row-major, outermost first: (rows, cols) for a matrix, (n) for a vector
  int file = 0;                // which mapped file
  uint64_t offset = 0;         // bytes from the start of that file
  uint64_t bytes = 0;

  int64_t rows() const { return shape.size() > 1 ? shape[0] : 1; }
  int64_t cols() const { return shape.empty() ? 1 : shape.back(); }
};

enum class CheckpointKind { kGguf, kHuggingFace };

// Everything has been validated on Open: tensors lie within their files, do not overlap, have sizes that match shape
// and type, and unique names. Opening touches headers only; tensor bytes are paged in on use.
class Checkpoint {
 public:
  // A GGUF file (first part of a split one: "-00001-of-000NN.gguf"), or a Hugging Face folder with config.json and
  // model.safetensors or model.safetensors.index.json; or a folder in which LocateModel finds one of these. Errors name
  // file, field, offset, expected, found.
  static Result<Checkpoint> Open(const std::string& path);

  CheckpointKind kind() const { return kind_; }
  const std::string& path() const { return path_; }       // of the file or folder that was found
  const Metadata& metadata() const { return metadata_; }  // GGUF keys in both kinds, "general.architecture" included
  // What was odd about the description and is read otherwise than it is written, for people; as a rule nothing.
  std::span<const std::string> warnings() const { return warnings_; }
  std::span<const TensorInfo> tensors() const { return tensors_; }
  const TensorInfo* Find(std::string_view name) const;
  // kNotFound with the checkpoint's path when the tensor is missing.
  Result<const TensorInfo*> Require(std::string_view name) const;
  // The tensor's mapped bytes. In a GGUF they are aligned to 8 bytes or more (normally 32); a Hugging Face file
  // promises no alignment. Row-major, values in the file's order: of a Llama model's attn_q and attn_k, a GGUF has the
  // rows of each head interleaved for its RoPE, a Hugging Face folder has them in halves.
  std::span<const std::byte> Data(const TensorInfo& tensor) const;
  std::span<const MappedFile> files() const { return files_; }
  uint64_t tensor_bytes() const;  // sum over tensors

 private:
  friend class GgufReader;
  friend class HfFolderReader;
  Checkpoint() = default;
  // Fills index_; kDataLoss when a name occurs twice.
  Status BuildIndex();

  CheckpointKind kind_ = CheckpointKind::kGguf;
  std::string path_;
  Metadata metadata_;
  std::vector<std::string> warnings_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string_view, size_t> index_;  // views into tensors_
  std::vector<MappedFile> files_;
};

}  // namespace inkstone

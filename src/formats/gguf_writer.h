// Writes GGUF v3, tensor by tensor: the header is complete before the first tensor's bytes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/atomic_file.h"
#include "core/status.h"
#include "formats/checkpoint.h"
#include "formats/metadata.h"

namespace inkstone {

class GgufWriter {
 public:
  // Writes header, metadata and tensor descriptors (name, dtype and shape of each are used; offsets are computed, with
  // 32-byte alignment).
  static Result<GgufWriter> Create(const std::string& path, const Metadata& metadata, std::vector<TensorInfo> tensors);
  // Goes on after the first `complete` tensors of the part file that an earlier Create left with the same metadata and
  // tensors; what follows them is cut off. kNotFound without a part file, kDataLoss when its header is another one or
  // it is too short.
  static Result<GgufWriter> Resume(const std::string& path, const Metadata& metadata, std::vector<TensorInfo> tensors,
                                   size_t complete);
  // Bytes of the file that Create would write, which writes nothing here.
  static Result<uint64_t> FileBytes(const Metadata& metadata, std::vector<TensorInfo> tensors);

  // Tensors are written in the order given to Create; a tensor's bytes may come in several pieces.
  // kInternal when more bytes come than the tensor has.
  Status Append(std::span<const std::byte> bytes);
  // Verifies that every tensor is complete, then gives the file its name.
  Status Finish();

  // Returns when everything appended is on the disk.
  Status Sync() { return file_.Sync(); }
  // Leaves an unfinished file for Resume.
  void KeepPart() { file_.KeepPart(); }

  size_t complete_tensors() const { return current_; }
  uint64_t total_bytes() const { return total_bytes_; }  // of the finished file
  uint64_t position() const { return file_.position(); }

 private:
  // `tensors` with their offsets within the data section.
  GgufWriter(AtomicFile file, std::vector<TensorInfo> tensors, uint64_t header_bytes);
  Status Pad();

  AtomicFile file_;
  std::vector<TensorInfo> tensors_;
  size_t current_ = 0;          // tensor being written
  uint64_t current_bytes_ = 0;  // of it, already written
  uint64_t total_bytes_ = 0;
};

}  // namespace inkstone

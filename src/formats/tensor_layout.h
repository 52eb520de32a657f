// What every tensor container must hold, and how its errors are put into words; shared by the readers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/mapped_file.h"
#include "core/status.h"
#include "formats/checkpoint.h"

namespace inkstone {

inline constexpr int kMaxDims = 4;             // as in ggml
inline constexpr int64_t kMaxDim = 1LL << 40;  // elements; far above any real model, far below overflow of a sum

// Bytes of a tensor of this type and row-major shape. kDataLoss, starting with `what`, for more than four dimensions, a
// dimension that is not in 1..kMaxDim, a row that is not whole blocks, or a size above 2^62 bytes.
Result<uint64_t> TensorBytes(DType dtype, std::span<const int64_t> shape, const std::string& what);

// Indices of `tensors` by ascending offset. kDataLoss naming `source` when two of them share bytes.
Result<std::vector<size_t>> OrderByOffset(std::span<const TensorInfo> tensors, const std::string& source);

// Text from a file made safe to print: in quotes, everything but printable ASCII escaped, long text cut.
std::string Quote(std::string_view text);

// "[6144, 256]".
std::string ShapeText(std::span<const int64_t> shape);

// MappedFile::Open for a path that a user named: a pipe, device or folder is refused before it is opened.
// `what` says what was expected there, e.g. "a GGUF file".
Result<MappedFile> OpenInput(const std::string& path, const std::string& what);

// The largest text files of a model: a tokenizer of a million tokens, everything else.
inline constexpr size_t kMaxTokenizerBytes = 128 << 20;
inline constexpr size_t kMaxConfigBytes = 16 << 20;
// The text of a regular file of at most `max_bytes`, read and not mapped: it stays what it was. Errors as OpenInput's,
// and kDataLoss for a longer file.
Result<std::string> ReadTextInput(const std::string& path, const std::string& what, size_t max_bytes);

}  // namespace inkstone

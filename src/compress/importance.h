// What the matrices of a model see: measured by calibration, read from and written to llama.cpp's imatrix files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"

namespace inkstone {

struct ChannelImportance {
  std::vector<float> mean_square;  // (columns of the matrix): mean over the tokens of the input channel's square
  int64_t tokens = 0;              // read from the older binary form: calls, which is all that it counts
};

// By GGUF tensor name ("blk.3.attn_q.weight").
using Importance = std::map<std::string, ChannelImportance, std::less<>>;

// Reads either form of llama.cpp's imatrix files: the older binary one and the GGUF one. Errors: kNotFound, kDataLoss
// (names file, entry, expected, found); counts are bounded against the bytes left.
Result<Importance> ReadImportance(const std::string& path);

// The same for the bytes of a file; `name` stands for it in errors.
Result<Importance> ParseImportance(std::span<const std::byte> bytes, const std::string& name);

// Writes the GGUF form, which llama-quantize reads too. `dataset` names the text. The file appears when it is complete.
// Errors: kInvalidArgument (an entry without columns or tokens, with a value that is not finite or negative, or with a
// name above 56 bytes), kResourceExhausted (disk).
Status WriteImportance(const std::string& path, const Importance& importance, const std::string& dataset);

}  // namespace inkstone

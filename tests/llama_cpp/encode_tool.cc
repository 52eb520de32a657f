// Encodes f32 values as a tensor type, for encoders.py.
//
//   encode_tool TYPE [IMPORTANCE] < values > blocks
//
// IMPORTANCE is a file of as many f32 values.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "quant/codec.h"

namespace {

std::vector<float> ReadFloats(std::istream& in) {
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::vector<float> values(bytes.size() / sizeof(float));
  bytes.copy(reinterpret_cast<char*>(values.data()), values.size() * sizeof(float));
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  const auto type = argc > 1 ? inkstone::DTypeFromName(argv[1]) : std::nullopt;
  const std::vector<float> values = ReadFloats(std::cin);
  std::vector<float> importance;
  if (argc > 2) {
    std::ifstream file(argv[2], std::ios::binary);
    importance = ReadFloats(file);
  }
  const int64_t count = static_cast<int64_t>(values.size());
  if (!type || count % inkstone::Info(*type).block_elements != 0 || (argc > 2 && importance.size() != values.size())) {
    std::fprintf(stderr, "usage: encode_tool TYPE [IMPORTANCE] < values, whole blocks > blocks\n");
    return 2;
  }
  std::vector<std::byte> blocks(static_cast<size_t>(inkstone::RowBytes(*type, count)));
  inkstone::EncodeRow(*type, values.data(), count, blocks.data(), argc > 2 ? importance.data() : nullptr);
  std::fwrite(blocks.data(), 1, blocks.size(), stdout);
  return 0;
}

// Helpers of this layer's tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "compress/synth.h"
#include "formats/checkpoint.h"
#include "quant/codec.h"

namespace inkstone {

// A folder for one test, removed at its end. A second one of the same test needs a suffix.
class TempFolder {
 public:
  explicit TempFolder(const std::string& suffix = "") {
    const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = std::string("inkstone_") + test->test_suite_name() + "_" + test->name() + suffix;
    for (char& c : name) c = c == '/' ? '_' : c;
    path_ = std::filesystem::temp_directory_path() / (name + "_" + std::to_string(::getpid()));
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline Checkpoint MustOpen(const std::string& path) {
  Result<Checkpoint> checkpoint = Checkpoint::Open(path);
  if (!checkpoint.ok()) throw std::runtime_error(checkpoint.status().message());
  return std::move(checkpoint).value();
}

// All values of a tensor, (elements).
inline std::vector<float> Values(const Checkpoint& checkpoint, const std::string& name) {
  const TensorInfo* tensor = checkpoint.Find(name);
  if (tensor == nullptr) throw std::runtime_error("no tensor " + name);
  int64_t elements = 1;
  for (int64_t n : tensor->shape) elements *= n;
  std::vector<float> values(static_cast<size_t>(elements));
  DecodeRow(tensor->dtype, checkpoint.Data(*tensor).data(), elements, values.data());
  return values;
}

// Overwrites element `index` of a float tensor of `folder`/model.safetensors in the file itself.
inline void Poke(const std::string& folder, const std::string& tensor_name, int64_t index, float value) {
  uint64_t at = 0;
  DType type = DType::kF32;
  {
    const Checkpoint checkpoint = MustOpen(folder);
    const TensorInfo* tensor = checkpoint.Find(tensor_name);
    if (tensor == nullptr) throw std::runtime_error("no tensor " + tensor_name);
    type = tensor->dtype;
    at = tensor->offset + static_cast<uint64_t>(RowBytes(type, index));
  }
  char bytes[4];
  EncodeRow(type, &value, 1, reinterpret_cast<std::byte*>(bytes));
  std::fstream file(folder + "/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.write(bytes, RowBytes(type, 1));
}

inline Status SynthQuietly(const SynthOptions& options) {
  return Synth(options, [](const Progress&) {});
}

// Writes a small model; the shape may be changed before.
inline std::string MakeModel(const TempFolder& folder, const std::string& shape, DType type = DType::kBF16) {
  SynthOptions options;
  options.output = folder / ("source_" + shape);
  options.shape = NamedShape(shape).value();
  options.type = type;
  options.threads = 2;
  const Status status = SynthQuietly(options);
  if (!status.ok()) throw std::runtime_error(status.message());
  return options.output;
}

}  // namespace inkstone

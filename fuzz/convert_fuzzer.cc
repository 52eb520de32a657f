// Any bytes as a checkpoint through the whole converter: a GGUF file where they begin like one, else a folder with
// config.json, which ends at the first zero byte, and model.safetensors. What comes out must open again, hold finite
// values and leave nothing beside it.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "compress/compress.h"
#include "fuzz/touch.h"
#include "quant/codec.h"

namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 6> kTypes = {"Q4_0", "F16", "Q8_0", "Q4_K_M", "IQ4_NL", "Q2_K"};

// Of this process, in memory where the system has such a file system.
class WorkFolder {
 public:
  WorkFolder() : path_(fs::is_directory("/dev/shm") ? "/dev/shm/convert_XXXXXX" : "/tmp/convert_XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~WorkFolder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

const std::string& Folder() {
  static const WorkFolder folder;
  return folder.path();
}

void Write(const std::string& path, std::string_view bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// The path of a checkpoint made of the bytes.
std::string MakeSource(std::string_view bytes) {
  if (bytes.starts_with("GGUF")) {
    Write(Folder() + "/source.gguf", bytes);
    return Folder() + "/source.gguf";
  }
  const size_t zero = std::min(bytes.find('\0'), bytes.size());
  fs::create_directory(Folder() + "/source");
  Write(Folder() + "/source/config.json", bytes.substr(0, zero));
  Write(Folder() + "/source/model.safetensors", bytes.substr(std::min(zero + 1, bytes.size())));
  return Folder() + "/source";
}

void CheckResult(const std::string& path) {
  const auto result = inkstone::Checkpoint::Open(path);
  if (!result.ok()) __builtin_trap();
  inkstone::fuzz::TouchMetadata(result->metadata());
  for (const inkstone::TensorInfo& tensor : result->tensors()) {
    const int64_t elements = static_cast<int64_t>(tensor.bytes) / inkstone::Info(tensor.dtype).block_bytes *
                             inkstone::Info(tensor.dtype).block_elements;
    std::vector<float> values(static_cast<size_t>(elements));
    inkstone::DecodeRow(tensor.dtype, result->Data(tensor).data(), elements, values.data());
    if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) __builtin_trap();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  inkstone::CompressOptions options;
  options.source = MakeSource({reinterpret_cast<const char*>(data), size});
  options.output = Folder() + "/out.gguf";
  options.recipe = inkstone::RecipeFromName(kTypes[size % kTypes.size()]).value();
  options.threads = 1;
  options.skip_tokenizer = true;
  options.allow_nonfinite = size % 2 == 0;
  const auto report = inkstone::Compress(options, [](const inkstone::Progress&) {});
  if (report.ok() != fs::exists(options.output)) __builtin_trap();
  if (report.ok()) {
    if (fs::file_size(options.output) != report->file_bytes) __builtin_trap();
    CheckResult(options.output);
    fs::remove(options.output);
  } else if (report.status().message().empty()) {
    __builtin_trap();
  }
  if (fs::exists(options.output + ".part") || fs::exists(options.output + ".part.json")) __builtin_trap();
  return 0;
}

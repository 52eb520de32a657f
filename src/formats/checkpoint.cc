#include "formats/checkpoint.h"

#include <filesystem>
#include <system_error>

#include "formats/gguf_reader.h"
#include "formats/hf_folder.h"
#include "formats/model_location.h"
#include "formats/tensor_layout.h"

namespace inkstone {

Result<Checkpoint> Checkpoint::Open(const std::string& given) {
  INK_ASSIGN_OR_RETURN(const std::string path, LocateModel(given));
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (std::filesystem::is_directory(status)) return HfFolderReader::Open(path);
  if (std::filesystem::is_regular_file(status)) {
    if (std::filesystem::path(path).extension() == ".safetensors") {
      return InvalidArgument(path + ": expected a GGUF file or a folder, found a single safetensors file; name the " +
                             "folder that holds it with its config.json");
    }
    return GgufReader::Open(path);
  }
  if (std::filesystem::exists(status)) {
    return InvalidArgument(path + ": expected a GGUF file or a Hugging Face folder, found neither a file nor a folder");
  }
  return NotFound(path + ": no such file or folder; expected a GGUF file, or a Hugging Face folder with config.json " +
                  "and model.safetensors");
}

const TensorInfo* Checkpoint::Find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

Result<const TensorInfo*> Checkpoint::Require(std::string_view name) const {
  if (const TensorInfo* tensor = Find(name); tensor != nullptr) return tensor;
  return NotFound(path_ + ": expected a tensor " + Quote(name) + ", found none of that name");
}

std::span<const std::byte> Checkpoint::Data(const TensorInfo& tensor) const {
  return files_[static_cast<size_t>(tensor.file)].bytes().subspan(tensor.offset, tensor.bytes);
}

uint64_t Checkpoint::tensor_bytes() const {
  uint64_t sum = 0;
  for (const TensorInfo& tensor : tensors_) sum += tensor.bytes;
  return sum;
}

Status Checkpoint::BuildIndex() {
  index_.clear();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!index_.emplace(tensors_[i].name, i).second) {
      return DataLoss(path_ + ": tensor " + Quote(tensors_[i].name) + ": expected unique names, found it twice");
    }
  }
  return Status::Ok();
}

}  // namespace inkstone

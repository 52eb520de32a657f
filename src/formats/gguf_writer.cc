#include "formats/gguf_writer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_set>
#include <utility>

#include "formats/gguf_reader.h"
#include "formats/tensor_layout.h"

namespace inkstone {
namespace {

constexpr uint32_t kVersion = 3;

uint64_t Aligned(uint64_t bytes) { return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment; }

template <typename T>
void Put(T value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutString(std::string_view text, std::string* out) {
  Put<uint64_t>(text.size(), out);
  out->append(text);
}

template <typename T>
bool PutChecked(int64_t value, std::string* out) {
  if (!std::in_range<T>(value)) return false;
  Put<T>(static_cast<T>(value), out);
  return true;
}

// False when the value does not fit the type.
bool PutInteger(MetaType type, int64_t value, std::string* out) {
  switch (type) {
    case MetaType::kU8:
      return PutChecked<uint8_t>(value, out);
    case MetaType::kI8:
      return PutChecked<int8_t>(value, out);
    case MetaType::kU16:
      return PutChecked<uint16_t>(value, out);
    case MetaType::kI16:
      return PutChecked<int16_t>(value, out);
    case MetaType::kU32:
      return PutChecked<uint32_t>(value, out);
    case MetaType::kI32:
      return PutChecked<int32_t>(value, out);
    case MetaType::kU64:
      return PutChecked<uint64_t>(value, out);
    case MetaType::kI64:
      return PutChecked<int64_t>(value, out);
    case MetaType::kBool:
      return (value == 0 || value == 1) && PutChecked<uint8_t>(value, out);
    default:
      return false;
  }
}

bool PutFloat(MetaType type, double value, std::string* out) {
  if (type == MetaType::kF32) {
    Put<float>(static_cast<float>(value), out);
  } else if (type == MetaType::kF64) {
    Put<double>(value, out);
  } else {
    return false;
  }
  return true;
}

bool PutArray(const MetaArray& array, std::string* out) {
  Put(static_cast<uint32_t>(array.type), out);
  Put<uint64_t>(array.size(), out);
  if (const auto* integers = std::get_if<std::vector<int64_t>>(&array.values)) {
    return std::all_of(integers->begin(), integers->end(), [&](int64_t v) { return PutInteger(array.type, v, out); });
  }
  if (const auto* floats = std::get_if<std::vector<double>>(&array.values)) {
    return std::all_of(floats->begin(), floats->end(), [&](double v) { return PutFloat(array.type, v, out); });
  }
  for (const std::string_view text : std::get<std::vector<std::string_view>>(array.values)) PutString(text, out);
  return array.type == MetaType::kString;
}

// False when type and value contradict each other.
bool PutValue(const MetaValue& value, std::string* out) {
  Put(static_cast<uint32_t>(value.type), out);
  if (const auto* array = std::get_if<MetaArray>(&value.value)) {
    return value.type == MetaType::kArray && PutArray(*array, out);
  }
  if (const auto* text = std::get_if<std::string_view>(&value.value)) {
    PutString(*text, out);
    return value.type == MetaType::kString;
  }
  if (const auto* flag = std::get_if<bool>(&value.value)) {
    return value.type == MetaType::kBool && PutInteger(value.type, *flag ? 1 : 0, out);
  }
  if (const auto* number = std::get_if<double>(&value.value)) return PutFloat(value.type, *number, out);
  return value.type != MetaType::kBool && PutInteger(value.type, std::get<int64_t>(value.value), out);
}

// Alignment is this writer's own, and its output is always one file.
bool IsContainerKey(std::string_view key) { return key == "general.alignment" || key.starts_with("split."); }

Status PutMetadata(const std::string& path, const Metadata& metadata, std::string* out) {
  for (const Metadata::Entry& entry : metadata.entries()) {
    if (IsContainerKey(entry.key)) continue;
    if (entry.key.empty() || entry.key.size() > kGgufMaxKey) {
      return InvalidArgument(path + ": metadata key " + Quote(entry.key) + ": expected 1 to 65535 bytes, found " +
                             std::to_string(entry.key.size()));
    }
    PutString(entry.key, out);
    if (!PutValue(entry.value, out)) {
      return InvalidArgument(path + ": metadata key " + Quote(entry.key) + ": its value does not fit its type");
    }
  }
  return Status::Ok();
}

// Fills in bytes and offset (within the data section), and writes the descriptors.
Status PutTensors(const std::string& path, std::vector<TensorInfo>* tensors, std::string* out) {
  uint64_t offset = 0;
  std::unordered_set<std::string_view> names;
  for (TensorInfo& tensor : *tensors) {
    const std::string what = path + ": tensor " + Quote(tensor.name);
    if (tensor.name.empty() || tensor.name.size() > kGgufMaxName) {
      return InvalidArgument(what + ": expected a name of 1 to 64 bytes, found " + std::to_string(tensor.name.size()));
    }
    if (!names.insert(tensor.name).second) return InvalidArgument(what + ": expected unique names, found it twice");
    if (tensor.shape.empty()) tensor.shape = {1};
    INK_ASSIGN_OR_RETURN(tensor.bytes, TensorBytes(tensor.dtype, tensor.shape, what));
    tensor.offset = offset;
    offset += Aligned(tensor.bytes);
    PutString(tensor.name, out);
    Put(static_cast<uint32_t>(tensor.shape.size()), out);
    for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim) Put<int64_t>(*dim, out);
    Put(static_cast<uint32_t>(tensor.dtype), out);
    Put<uint64_t>(tensor.offset, out);
  }
  return Status::Ok();
}

// Everything before the first tensor's bytes; fills in bytes and offset of `tensors`.
Result<std::string> MakeHeader(const std::string& path, const Metadata& metadata, std::vector<TensorInfo>* tensors) {
  const auto entries = metadata.entries();
  const auto skipped =
      std::count_if(entries.begin(), entries.end(), [](const auto& entry) { return IsContainerKey(entry.key); });
  std::string header;
  Put(kGgufMagic, &header);
  Put(kVersion, &header);
  Put<uint64_t>(tensors->size(), &header);
  Put<uint64_t>(entries.size() - static_cast<size_t>(skipped), &header);
  INK_RETURN_IF_ERROR(PutMetadata(path, metadata, &header));
  INK_RETURN_IF_ERROR(PutTensors(path, tensors, &header));
  header.resize(Aligned(header.size()));
  return header;
}

uint64_t DataBytes(std::span<const TensorInfo> tensors) {
  return tensors.empty() ? 0 : tensors.back().offset + Aligned(tensors.back().bytes);
}

}  // namespace

GgufWriter::GgufWriter(AtomicFile file, std::vector<TensorInfo> tensors, uint64_t header_bytes)
    : file_(std::move(file)), tensors_(std::move(tensors)), total_bytes_(header_bytes + DataBytes(tensors_)) {}

Result<GgufWriter> GgufWriter::Create(const std::string& path, const Metadata& metadata,
                                      std::vector<TensorInfo> tensors) {
  INK_ASSIGN_OR_RETURN(const std::string header, MakeHeader(path, metadata, &tensors));
  INK_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  INK_RETURN_IF_ERROR(file.Write(header.data(), header.size()));
  return GgufWriter(std::move(file), std::move(tensors), header.size());
}

Result<GgufWriter> GgufWriter::Resume(const std::string& path, const Metadata& metadata,
                                      std::vector<TensorInfo> tensors, size_t complete) {
  INK_ASSIGN_OR_RETURN(const std::string header, MakeHeader(path, metadata, &tensors));
  if (complete > tensors.size()) {
    return DataLoss(path + ".part: expected at most " + std::to_string(tensors.size()) + " complete tensors, found " +
                    std::to_string(complete));
  }
  const uint64_t data = DataBytes(std::span(tensors).first(complete));
  INK_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Resume(path, header.size() + data, header));
  GgufWriter writer(std::move(file), std::move(tensors), header.size());
  writer.current_ = complete;
  return writer;
}

Result<uint64_t> GgufWriter::FileBytes(const Metadata& metadata, std::vector<TensorInfo> tensors) {
  INK_ASSIGN_OR_RETURN(const std::string header, MakeHeader("GGUF", metadata, &tensors));
  return header.size() + DataBytes(tensors);
}

Status GgufWriter::Append(std::span<const std::byte> bytes) {
  if (bytes.empty()) return Status::Ok();
  if (current_ == tensors_.size()) return Internal("GgufWriter: bytes after the last tensor");
  const TensorInfo& tensor = tensors_[current_];
  if (bytes.size() > tensor.bytes - current_bytes_) {
    return Internal("GgufWriter: tensor " + Quote(tensor.name) + ": expected " + std::to_string(tensor.bytes) +
                    " bytes, found " + std::to_string(current_bytes_ + bytes.size()));
  }
  INK_RETURN_IF_ERROR(file_.Write(bytes));
  current_bytes_ += bytes.size();
  if (current_bytes_ < tensor.bytes) return Status::Ok();
  ++current_;
  current_bytes_ = 0;
  return Pad();
}

Status GgufWriter::Pad() {
  static constexpr std::array<std::byte, kGgufAlignment> kZeros{};
  return file_.Write(kZeros.data(), Aligned(file_.position()) - file_.position());
}

Status GgufWriter::Finish() {
  if (current_ != tensors_.size()) {
    return Internal("GgufWriter: tensor " + Quote(tensors_[current_].name) + ": expected " +
                    std::to_string(tensors_[current_].bytes) + " bytes, found " + std::to_string(current_bytes_));
  }
  return file_.Commit();
}

}  // namespace inkstone

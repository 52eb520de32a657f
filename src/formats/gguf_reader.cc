#include "formats/gguf_reader.h"

#include <bit>
#include <cstdio>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "core/mapped_file.h"
#include "formats/tensor_layout.h"

namespace inkstone {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read by copying little-endian numbers");

// In all arrays of a file together: 1-byte elements are held in 8, so a hostile file must not bring billions of them.
constexpr uint64_t kMaxArrayElements = uint64_t{1} << 24;
constexpr uint64_t kMaxKeys = 65536;
constexpr uint64_t kMaxTensors = uint64_t{1} << 20;
constexpr uint64_t kMaxAlignment = 65536;
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;             // key length, key, type, value
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // name length, name, dims, one dim, type, offset

// Types that ggml has or had and this program does not read.
const char* ForeignTypeName(uint32_t number) {
  switch (number) {
    case 4:
      return "Q4_2 (removed from ggml)";
    case 5:
      return "Q4_3 (removed from ggml)";
    case 9:
      return "Q8_1";
    case 15:
      return "Q8_K";
    case 16:
      return "IQ2_XXS";
    case 17:
      return "IQ2_XS";
    case 18:
      return "IQ3_XXS";
    case 19:
      return "IQ1_S";
    case 21:
      return "IQ3_S";
    case 22:
      return "IQ2_S";
    case 24:
      return "I8";
    case 25:
      return "I16";
    case 26:
      return "I32";
    case 27:
      return "I64";
    case 28:
      return "F64";
    case 29:
      return "IQ1_M";
    case 31:
      return "Q4_0_4_4 (removed from ggml)";
    case 32:
      return "Q4_0_4_8 (removed from ggml)";
    case 33:
      return "Q4_0_8_8 (removed from ggml)";
    case 34:
      return "TQ1_0";
    case 35:
      return "TQ2_0";
    case 36:
      return "IQ4_NL_4_4 (removed from ggml)";
    case 37:
      return "IQ4_NL_4_8 (removed from ggml)";
    case 38:
      return "IQ4_NL_8_8 (removed from ggml)";
    case 39:
      return "MXFP4";
    case 40:
      return "NVFP4";
    case 41:
      return "Q1_0";
    default:
      return nullptr;
  }
}

std::string SupportedTypes() {
  std::string out;
  for (const DTypeInfo& info : AllDTypes()) out += (out.empty() ? "" : " ") + std::string(info.name);
  return out;
}

// Bytes of one scalar in an array; 0 for types that have no fixed size.
uint64_t ScalarBytes(MetaType type) {
  switch (type) {
    case MetaType::kU8:
    case MetaType::kI8:
    case MetaType::kBool:
      return 1;
    case MetaType::kU16:
    case MetaType::kI16:
      return 2;
    case MetaType::kU32:
    case MetaType::kI32:
    case MetaType::kF32:
      return 4;
    case MetaType::kU64:
    case MetaType::kI64:
    case MetaType::kF64:
      return 8;
    case MetaType::kString:
    case MetaType::kArray:
      return 0;
  }
  return 0;
}

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Result<GgufFile> Parse();

 private:
  uint64_t left() const { return bytes_.size() - position_; }
  // "file: field (at offset N)": the start of every message.
  std::string At(const std::string& field, uint64_t offset) const {
    return name_ + ": " + field + " at offset " + std::to_string(offset);
  }
  Status Truncated(const std::string& field, uint64_t needed) const {
    return DataLoss(At(field, position_) + ": expected " + std::to_string(needed) + " more bytes, found " +
                    std::to_string(left()));
  }

  // `field` is made into text only when there is an error to report.
  template <typename T>
  Result<T> Read(const char* field) {
    if (left() < sizeof(T)) return Truncated(Field(field), sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }
  Result<std::string_view> ReadString(const char* field);
  // A name of a key or tensor: 1..max bytes.
  Result<std::string_view> ReadName(const char* field, size_t max);
  std::string Field(const char* field) const {
    return subject_.empty() ? std::string(field) : std::string(field) + " of " + Quote(subject_);
  }

  Status ReadHeader(GgufFile* file);
  Status ReadKeyValue(Metadata* metadata);
  Result<MetaType> ReadType(const char* field);
  Result<MetaValue> ReadScalar(MetaType type);
  Result<MetaValue> ReadArray();
  template <typename Stored, typename Held>
  std::vector<Held> TakeNumbers(uint64_t count);
  Result<std::vector<int64_t>> TakeIntegers(MetaType type, uint64_t count);
  Result<std::vector<std::string_view>> TakeStrings(uint64_t count);
  Status ReadTensor(std::vector<TensorInfo>* tensors);
  Result<uint64_t> Alignment(const Metadata& metadata) const;
  Status PlaceTensors(uint64_t alignment, std::vector<TensorInfo>* tensors) const;

  std::span<const std::byte> bytes_;
  const std::string& name_;
  uint64_t position_ = 0;
  std::string_view subject_;  // key or tensor being read, for messages
  uint64_t key_count_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t array_elements_ = 0;  // so far, in all arrays
};

Result<std::string_view> Parser::ReadString(const char* field) {
  INK_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(field));
  if (length > left()) {
    return DataLoss(At(Field(field), position_ - 8) + ": expected a length of at most the " + std::to_string(left()) +
                    " bytes left, found " + std::to_string(length));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + position_), length);
  position_ += length;
  return text;
}

Result<std::string_view> Parser::ReadName(const char* field, size_t max) {
  const uint64_t start = position_;
  INK_ASSIGN_OR_RETURN(const std::string_view name, ReadString(field));
  if (name.empty() || name.size() > max) {
    return DataLoss(At(Field(field), start) + ": expected a length from 1 to " + std::to_string(max) + ", found " +
                    std::to_string(name.size()));
  }
  return name;
}

Status Parser::ReadHeader(GgufFile* file) {
  INK_ASSIGN_OR_RETURN(const uint32_t magic, Read<uint32_t>("magic"));
  if (magic != kGgufMagic) {
    const std::string_view found(reinterpret_cast<const char*>(bytes_.data()), 4);
    return DataLoss(At("magic", 0) + ": expected \"GGUF\", found " + Quote(found));
  }
  INK_ASSIGN_OR_RETURN(file->version, Read<uint32_t>("version"));
  if (file->version != 0 && (file->version & 0xffff) == 0) {
    return Unimplemented(At("version", 4) + ": the file is big-endian; convert it to little-endian first");
  }
  if (file->version == 1)
    return Unimplemented(At("version", 4) + ": expected 2 or 3, found 1; convert the model again");
  if (file->version != 2 && file->version != 3) {
    return Unimplemented(At("version", 4) + ": expected 2 or 3, found " + std::to_string(file->version));
  }
  INK_ASSIGN_OR_RETURN(tensor_count_, Read<uint64_t>("tensor count"));
  INK_ASSIGN_OR_RETURN(key_count_, Read<uint64_t>("metadata key count"));
  const uint64_t max_tensors = std::min(kMaxTensors, left() / kMinTensorBytes);
  if (tensor_count_ > max_tensors) {
    return DataLoss(At("tensor count", 8) + ": expected at most " + std::to_string(max_tensors) + " in a file of " +
                    std::to_string(bytes_.size()) + " bytes, found " + std::to_string(tensor_count_));
  }
  const uint64_t max_keys = std::min(kMaxKeys, left() / kMinKeyBytes);
  if (key_count_ > max_keys) {
    return DataLoss(At("metadata key count", 16) + ": expected at most " + std::to_string(max_keys) + " in a file of " +
                    std::to_string(bytes_.size()) + " bytes, found " + std::to_string(key_count_));
  }
  return Status::Ok();
}

Result<MetaType> Parser::ReadType(const char* field) {
  INK_ASSIGN_OR_RETURN(const uint32_t number, Read<uint32_t>(field));
  if (number > static_cast<uint32_t>(MetaType::kF64)) {
    return DataLoss(At(Field(field), position_ - 4) + ": expected a value type from 0 to 12, found " +
                    std::to_string(number));
  }
  return static_cast<MetaType>(number);
}

template <typename Stored, typename Held>
std::vector<Held> Parser::TakeNumbers(uint64_t count) {
  std::vector<Held> out(count);
  const std::byte* source = bytes_.data() + position_;
  for (uint64_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, source + i * sizeof(Stored), sizeof(Stored));
    out[i] = static_cast<Held>(value);  // NOLINT(bugprone-signed-char-misuse): an int8 keeps its sign
  }
  position_ += count * sizeof(Stored);
  return out;
}

// `count` integers or bools, whose bytes are known to be there.
Result<std::vector<int64_t>> Parser::TakeIntegers(MetaType type, uint64_t count) {
  const uint64_t start = position_;
  switch (type) {
    case MetaType::kI8:
      return TakeNumbers<int8_t, int64_t>(count);
    case MetaType::kU16:
      return TakeNumbers<uint16_t, int64_t>(count);
    case MetaType::kI16:
      return TakeNumbers<int16_t, int64_t>(count);
    case MetaType::kU32:
      return TakeNumbers<uint32_t, int64_t>(count);
    case MetaType::kI32:
      return TakeNumbers<int32_t, int64_t>(count);
    case MetaType::kU8:
    case MetaType::kBool: {
      std::vector<int64_t> out = TakeNumbers<uint8_t, int64_t>(count);
      for (uint64_t i = 0; type == MetaType::kBool && i < count; ++i) {
        if (out[i] > 1) {
          return DataLoss(At(Field("value"), start + i) + ": expected a bool, 0 or 1, found " + std::to_string(out[i]));
        }
      }
      return out;
    }
    default: {
      std::vector<int64_t> out = TakeNumbers<int64_t, int64_t>(count);
      for (uint64_t i = 0; type == MetaType::kU64 && i < count; ++i) {
        if (out[i] < 0) {
          return DataLoss(At(Field("value"), start + i * 8) + ": expected a number below 2^63, found " +
                          std::to_string(static_cast<uint64_t>(out[i])));
        }
      }
      return out;
    }
  }
}

// Not through ReadString for each: a vocabulary and its merges are 300,000 strings.
Result<std::vector<std::string_view>> Parser::TakeStrings(uint64_t count) {
  std::vector<std::string_view> out;
  out.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t length = 0;
    if (left() >= sizeof(length)) std::memcpy(&length, bytes_.data() + position_, sizeof(length));
    if (left() < sizeof(length) || length > left() - sizeof(length)) return ReadString("string element").status();
    out.emplace_back(reinterpret_cast<const char*>(bytes_.data() + position_ + sizeof(length)), length);
    position_ += sizeof(length) + length;
  }
  return out;
}

Result<MetaValue> Parser::ReadScalar(MetaType type) {
  if (type == MetaType::kString) {
    INK_ASSIGN_OR_RETURN(const std::string_view text, ReadString("value"));
    return MetaValue{type, text};
  }
  const uint64_t needed = ScalarBytes(type);
  if (left() < needed) return Truncated(Field("value"), needed);
  if (type == MetaType::kF32) return MetaValue{type, TakeNumbers<float, double>(1)[0]};
  if (type == MetaType::kF64) return MetaValue{type, TakeNumbers<double, double>(1)[0]};
  INK_ASSIGN_OR_RETURN(const std::vector<int64_t> integer, TakeIntegers(type, 1));
  if (type == MetaType::kBool) return MetaValue{type, integer[0] != 0};
  return MetaValue{type, integer[0]};
}

Result<MetaValue> Parser::ReadArray() {
  const uint64_t start = position_;
  INK_ASSIGN_OR_RETURN(const MetaType type, ReadType("array type"));
  if (type == MetaType::kArray) {
    return Unimplemented(At(Field("array type"), start) + ": expected a scalar type, found a nested array");
  }
  INK_ASSIGN_OR_RETURN(const uint64_t count, Read<uint64_t>("array length"));
  const uint64_t element = type == MetaType::kString ? 8 : ScalarBytes(type);
  const uint64_t most = std::min(left() / element, kMaxArrayElements - array_elements_);
  if (count > most) {
    return DataLoss(At(Field("array length"), start + 4) + ": expected at most " + std::to_string(most) +
                    " elements, found " + std::to_string(count));
  }
  array_elements_ += count;
  MetaArray array;
  array.type = type;
  if (type == MetaType::kString) {
    INK_ASSIGN_OR_RETURN(array.values, TakeStrings(count));
  } else if (type == MetaType::kF32) {
    array.values = TakeNumbers<float, double>(count);
  } else if (type == MetaType::kF64) {
    array.values = TakeNumbers<double, double>(count);
  } else {
    INK_ASSIGN_OR_RETURN(array.values, TakeIntegers(type, count));
  }
  return MetaValue{MetaType::kArray, std::move(array)};
}

Status Parser::ReadKeyValue(Metadata* metadata) {
  subject_ = {};
  const uint64_t start = position_;
  INK_ASSIGN_OR_RETURN(const std::string_view key, ReadName("metadata key", kGgufMaxKey));
  if (metadata->Find(key) != nullptr) {
    return DataLoss(At("metadata key", start) + ": expected unique keys, found " + Quote(key) + " twice");
  }
  subject_ = key;
  INK_ASSIGN_OR_RETURN(const MetaType type, ReadType("type"));
  INK_ASSIGN_OR_RETURN(MetaValue value, type == MetaType::kArray ? ReadArray() : ReadScalar(type));
  metadata->SetView(key, std::move(value));
  return Status::Ok();
}

Status Parser::ReadTensor(std::vector<TensorInfo>* tensors) {
  subject_ = {};
  INK_ASSIGN_OR_RETURN(subject_, ReadName("tensor name", kGgufMaxName));
  TensorInfo tensor;
  tensor.name = subject_;
  INK_ASSIGN_OR_RETURN(const uint32_t dims, Read<uint32_t>("dimension count"));
  if (dims < 1 || dims > kMaxDims) {
    return DataLoss(At(Field("dimension count"), position_ - 4) + ": expected 1 to 4, found " + std::to_string(dims));
  }
  tensor.shape.resize(dims);
  for (uint32_t i = 0; i < dims; ++i) {  // the file lists the innermost dimension first
    INK_ASSIGN_OR_RETURN(const uint64_t dim, Read<uint64_t>("dimension"));
    if (dim < 1 || dim > static_cast<uint64_t>(kMaxDim)) {
      return DataLoss(At(Field("dimension"), position_ - 8) + ": expected 1 to " + std::to_string(kMaxDim) +
                      ", found " + std::to_string(dim));
    }
    tensor.shape[dims - 1 - i] = static_cast<int64_t>(dim);
  }
  INK_ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>("tensor type"));
  const std::optional<DType> dtype = DTypeFromGguf(type);
  if (!dtype) {
    const char* foreign = ForeignTypeName(type);
    const std::string found = foreign != nullptr ? foreign : "the unknown number " + std::to_string(type);
    return Unimplemented(At(Field("tensor type"), position_ - 4) + ": expected one of " + SupportedTypes() +
                         ", found " + found);
  }
  tensor.dtype = *dtype;
  INK_ASSIGN_OR_RETURN(tensor.bytes, TensorBytes(*dtype, tensor.shape, name_ + ": tensor " + Quote(subject_)));
  INK_ASSIGN_OR_RETURN(tensor.offset, Read<uint64_t>("tensor offset"));
  tensors->push_back(std::move(tensor));
  return Status::Ok();
}

Result<uint64_t> Parser::Alignment(const Metadata& metadata) const {
  constexpr std::string_view kKey = "general.alignment";
  INK_ASSIGN_OR_RETURN(const int64_t alignment, metadata.GetIntOr(kKey, kGgufAlignment));
  if (alignment < 8 || static_cast<uint64_t>(alignment) > kMaxAlignment ||
      !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    return DataLoss(name_ + ": " + std::string(kKey) + ": expected a power of two from 8 to " +
                    std::to_string(kMaxAlignment) + ", found " + std::to_string(alignment));
  }
  return static_cast<uint64_t>(alignment);
}

// Turns offsets in the data section into offsets in the file, and checks them.
Status Parser::PlaceTensors(uint64_t alignment, std::vector<TensorInfo>* tensors) const {
  const uint64_t data = (position_ + alignment - 1) / alignment * alignment;
  const uint64_t size = data < bytes_.size() ? bytes_.size() - data : 0;
  std::unordered_set<std::string_view> names;
  for (TensorInfo& tensor : *tensors) {
    const std::string_view name = tensor.name;
    if (!names.insert(name).second) {
      return DataLoss(name_ + ": tensor " + Quote(name) + ": expected unique names, found it twice");
    }
    if (tensor.offset % alignment != 0) {
      return DataLoss(name_ + ": tensor " + Quote(name) + ": expected an offset that is a multiple of " +
                      std::to_string(alignment) + ", found " + std::to_string(tensor.offset));
    }
    if (tensor.offset > size || tensor.bytes > size - tensor.offset) {
      return DataLoss(name_ + ": tensor " + Quote(name) + ": expected its " + std::to_string(tensor.bytes) +
                      " bytes at offset " + std::to_string(tensor.offset) + " within the " + std::to_string(size) +
                      " bytes of tensor data, found them outside: the file is truncated or damaged");
    }
    tensor.offset += data;
  }
  return OrderByOffset(*tensors, name_).status();
}

Result<GgufFile> Parser::Parse() {
  GgufFile file;
  file.metadata = Metadata(name_);
  INK_RETURN_IF_ERROR(ReadHeader(&file));
  for (uint64_t i = 0; i < key_count_; ++i) INK_RETURN_IF_ERROR(ReadKeyValue(&file.metadata));
  INK_ASSIGN_OR_RETURN(const uint64_t alignment, Alignment(file.metadata));
  for (uint64_t i = 0; i < tensor_count_; ++i) INK_RETURN_IF_ERROR(ReadTensor(&file.tensors));
  INK_RETURN_IF_ERROR(PlaceTensors(alignment, &file.tensors));
  return file;
}

// The numbers that a part of a split model carries; count is 1 for a whole file.
struct SplitInfo {
  int64_t part = 0;
  int64_t count = 1;
  int64_t tensors = -1;  // in all parts; -1 when not given
};

Result<SplitInfo> ReadSplitInfo(const Metadata& metadata) {
  SplitInfo info;
  INK_ASSIGN_OR_RETURN(info.part, metadata.GetIntOr("split.no", 0));
  INK_ASSIGN_OR_RETURN(info.count, metadata.GetIntOr("split.count", 1));
  INK_ASSIGN_OR_RETURN(info.tensors, metadata.GetIntOr("split.tensors.count", -1));
  if (info.count == 0) info.count = 1;
  if (info.count < 0 || info.count > 99999) {
    return DataLoss(metadata.source() + ": split.count: expected 1 to 99999, found " + std::to_string(info.count));
  }
  return info;
}

}  // namespace

Result<GgufFile> ParseGguf(std::span<const std::byte> bytes, const std::string& name) {
  return Parser(bytes, name).Parse();
}

std::string GgufPartPath(std::string_view first, int64_t part, int64_t count) {
  char suffix[40];
  std::snprintf(suffix, sizeof(suffix), "-%05d-of-%05d.gguf", 1, static_cast<int>(count));
  if (!first.ends_with(suffix)) return "";
  const std::string_view stem = first.substr(0, first.size() - std::strlen(suffix));
  std::snprintf(suffix, sizeof(suffix), "-%05d-of-%05d.gguf", static_cast<int>(part + 1), static_cast<int>(count));
  return std::string(stem) + suffix;
}

Result<Checkpoint> GgufReader::Open(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.kind_ = CheckpointKind::kGguf;
  checkpoint.path_ = path;
  SplitInfo split;
  for (int64_t part = 0; part < split.count; ++part) {
    const std::string part_path = part == 0 ? path : GgufPartPath(path, part, split.count);
    if (part_path.empty()) {
      return InvalidArgument(path + ": split.count is " + std::to_string(split.count) +
                             ": expected a name that ends in \"-00001-of-0000N.gguf\" with the same count");
    }
    INK_ASSIGN_OR_RETURN(MappedFile mapped, OpenInput(part_path, "a GGUF file"));
    INK_ASSIGN_OR_RETURN(GgufFile file, ParseGguf(mapped.bytes(), part_path));
    INK_ASSIGN_OR_RETURN(const SplitInfo found, ReadSplitInfo(file.metadata));
    if (found.part != part) {
      return InvalidArgument(part_path + ": split.no: expected " + std::to_string(part) + ", found " +
                             std::to_string(found.part) + (part == 0 ? "; open the first part of the model" : ""));
    }
    if (part == 0) {
      split = found;
      checkpoint.metadata_ = std::move(file.metadata);
    } else if (found.count != split.count || found.tensors != split.tensors) {
      return DataLoss(part_path + ": split.count and split.tensors.count: expected " + std::to_string(split.count) +
                      " and " + std::to_string(split.tensors) + " as in the first part, found " +
                      std::to_string(found.count) + " and " + std::to_string(found.tensors));
    }
    for (TensorInfo& tensor : file.tensors) {
      tensor.file = static_cast<int>(part);
      checkpoint.tensors_.push_back(std::move(tensor));
    }
    checkpoint.files_.push_back(std::move(mapped));
  }
  if (split.tensors >= 0 && static_cast<uint64_t>(split.tensors) != checkpoint.tensors_.size()) {
    return DataLoss(path + ": split.tensors.count: expected " + std::to_string(split.tensors) + ", found " +
                    std::to_string(checkpoint.tensors_.size()) + " tensors in all parts");
  }
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) checkpoint.metadata_.Erase(key);
  INK_RETURN_IF_ERROR(checkpoint.BuildIndex());
  return checkpoint;
}

}  // namespace inkstone

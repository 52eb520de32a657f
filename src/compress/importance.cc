#include "compress/importance.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/mapped_file.h"
#include "formats/gguf_reader.h"
#include "formats/gguf_writer.h"
#include "formats/metadata.h"

namespace inkstone {
namespace {

// llama.cpp, tools/imatrix/imatrix.cpp: a tensor of sums and one of counts for each matrix.
constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";
constexpr int64_t kChunkTokens = 512;  // llama-imatrix's default context, the unit of imatrix.chunk_count

std::string Entry(const std::string& file, std::string_view name) {
  return file + ": entry '" + std::string(name) + "'";
}

// What is wrong with means of squares, or OK.
Status CheckValues(const std::string& what, std::span<const float> values) {
  if (values.empty()) return DataLoss(what + ": expected at least one column, found none");
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && values[i] >= 0.0f) continue;
    return DataLoss(what + ": expected finite values of at least 0, found " + std::to_string(values[i]) +
                    " in column " + std::to_string(i));
  }
  return Status::Ok();
}

// `sums` over `count` tokens or calls. Where none came by, llama-quantize takes all columns as equal.
Result<ChannelImportance> Mean(const std::string& what, std::vector<float> sums, int64_t count) {
  for (float& value : sums) value = count > 0 ? value / static_cast<float>(count) : 1.0f;
  INK_RETURN_IF_ERROR(CheckValues(what, sums));
  return ChannelImportance{std::move(sums), std::max<int64_t>(count, 0)};
}

std::vector<float> Floats(std::span<const std::byte> bytes) {
  std::vector<float> out(bytes.size() / sizeof(float));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
  return out;
}

// The older form: int32 count, entries of (int32 name length, name, int32 calls, int32 values, f32 mean * calls each),
// then, in all but the oldest files, int32 last call, int32 length and name of the data set.
class BinaryParser {
 public:
  BinaryParser(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Result<Importance> Parse() {
    INK_ASSIGN_OR_RETURN(const int64_t count, TakeCount("entry count", kMinEntryBytes));
    if (count == 0) return DataLoss(name_ + ": expected at least one entry, found none");
    Importance out;
    for (int64_t i = 0; i < count; ++i) INK_RETURN_IF_ERROR(TakeEntry(&out));
    if (left() == 0) return out;
    INK_RETURN_IF_ERROR(TakeInt("last call").status());
    INK_ASSIGN_OR_RETURN(const int64_t length, TakeCount("length of the data set's name", 1));
    if (static_cast<uint64_t>(length) != left()) {
      return DataLoss(name_ + ": expected the data set's name of " + std::to_string(length) +
                      " bytes at the end, found " + std::to_string(left()));
    }
    return out;
  }

 private:
  static constexpr uint64_t kMinEntryBytes = 4 + 1 + 4 + 4 + 4;

  uint64_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> Take(uint64_t count) {
    const auto out = bytes_.subspan(position_, count);
    position_ += count;
    return out;
  }

  Result<int64_t> TakeInt(const char* field) {
    int32_t value = 0;
    if (left() < sizeof value) {
      return DataLoss(name_ + ": " + field + " at offset " + std::to_string(position_) +
                      ": expected 4 more bytes, found " + std::to_string(left()));
    }
    std::memcpy(&value, Take(sizeof value).data(), sizeof value);
    return value;
  }

  // A number of things of at least `unit` bytes each, all of which lie in what is left.
  Result<int64_t> TakeCount(const char* field, uint64_t unit) {
    INK_ASSIGN_OR_RETURN(const int64_t value, TakeInt(field));
    if (value >= 0 && static_cast<uint64_t>(value) <= left() / unit) return value;
    return DataLoss(name_ + ": " + field + " at offset " + std::to_string(position_ - 4) + ": expected 0 to " +
                    std::to_string(left() / unit) + ", found " + std::to_string(value));
  }

  Status TakeEntry(Importance* out) {
    INK_ASSIGN_OR_RETURN(const int64_t length, TakeCount("name length", 1));
    const auto name_bytes = Take(static_cast<uint64_t>(length));
    const std::string name(reinterpret_cast<const char*>(name_bytes.data()), name_bytes.size());
    INK_ASSIGN_OR_RETURN(const int64_t calls, TakeInt("call count"));
    INK_ASSIGN_OR_RETURN(const int64_t count, TakeCount("value count", sizeof(float)));
    std::vector<float> sums = Floats(Take(static_cast<uint64_t>(count) * sizeof(float)));
    if (calls <= 0) {  // llama-quantize takes such values as they are
      INK_RETURN_IF_ERROR(CheckValues(Entry(name_, name), sums));
      return Insert(name, ChannelImportance{std::move(sums), 0}, out);
    }
    INK_ASSIGN_OR_RETURN(ChannelImportance channels, Mean(Entry(name_, name), std::move(sums), calls));
    return Insert(name, std::move(channels), out);
  }

  Status Insert(const std::string& name, ChannelImportance channels, Importance* out) const {
    if (out->emplace(name, std::move(channels)).second) return Status::Ok();
    return DataLoss(Entry(name_, name) + ": expected unique names, found it twice");
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  uint64_t position_ = 0;
};

// Tensors by name.
using TensorIndex = std::unordered_map<std::string_view, const TensorInfo*>;

Result<int64_t> CountOf(const TensorIndex& index, std::span<const std::byte> bytes, const std::string& what,
                        const std::string& name) {
  const auto found = index.find(name);
  if (found == index.end()) return DataLoss(what + ": expected a tensor '" + name + "', found none");
  const TensorInfo& tensor = *found->second;
  if (tensor.dtype != DType::kF32 || tensor.bytes != sizeof(float)) {
    return Unimplemented(what + ": tensor '" + name + "': expected one F32 count; models of experts have more");
  }
  const float count = Floats(bytes.subspan(tensor.offset, tensor.bytes)).front();
  if (!(count >= 0.0f && count < 9e15f)) {
    return DataLoss(what + ": tensor '" + name + "': expected a count, found " + std::to_string(count));
  }
  return std::llround(count);
}

Result<Importance> ParseGgufForm(std::span<const std::byte> bytes, const std::string& name) {
  INK_ASSIGN_OR_RETURN(const GgufFile gguf, ParseGguf(bytes, name));
  INK_ASSIGN_OR_RETURN(const std::string_view type, gguf.metadata.GetStringOr("general.type", ""));
  if (type != "imatrix") {
    return DataLoss(name + ": general.type: expected \"imatrix\", found " +
                    (type.empty() ? "none" : "\"" + std::string(type) + "\"") + "; is it a model?");
  }
  TensorIndex index;
  for (const TensorInfo& tensor : gguf.tensors) index.emplace(tensor.name, &tensor);
  Importance out;
  for (const TensorInfo& tensor : gguf.tensors) {
    if (!tensor.name.ends_with(kSums)) continue;
    const std::string matrix = tensor.name.substr(0, tensor.name.size() - kSums.size());
    const std::string what = Entry(name, matrix);
    if (tensor.dtype != DType::kF32) {
      return DataLoss(what + ": expected sums in F32, found " + std::string(Info(tensor.dtype).name));
    }
    INK_ASSIGN_OR_RETURN(const int64_t count, CountOf(index, bytes, what, matrix + std::string(kCounts)));
    INK_ASSIGN_OR_RETURN(out[matrix], Mean(what, Floats(bytes.subspan(tensor.offset, tensor.bytes)), count));
  }
  if (out.empty()) return DataLoss(name + ": expected tensors named *" + std::string(kSums) + ", found none");
  return out;
}

}  // namespace

Result<Importance> ParseImportance(std::span<const std::byte> bytes, const std::string& name) {
  uint32_t magic = 0;
  if (bytes.size() >= sizeof magic) std::memcpy(&magic, bytes.data(), sizeof magic);
  return magic == kGgufMagic ? ParseGgufForm(bytes, name) : BinaryParser(bytes, name).Parse();
}

Result<Importance> ReadImportance(const std::string& path) {
  INK_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  return ParseImportance(file.bytes(), path);
}

Status WriteImportance(const std::string& path, const Importance& importance, const std::string& dataset) {
  std::vector<TensorInfo> tensors;
  int64_t most_tokens = 0;
  for (const auto& [name, channels] : importance) {
    const Status values = CheckValues(Entry(path, name), channels.mean_square);
    if (!values.ok()) return InvalidArgument(values.message());
    if (channels.tokens < 1) return InvalidArgument(Entry(path, name) + ": expected at least one token, found none");
    most_tokens = std::max(most_tokens, channels.tokens);
    TensorInfo sums;
    sums.name = name + std::string(kSums);
    sums.shape = {1, static_cast<int64_t>(channels.mean_square.size())};
    TensorInfo counts;
    counts.name = name + std::string(kCounts);
    counts.shape = {1, 1};
    tensors.push_back(std::move(sums));
    tensors.push_back(std::move(counts));
  }
  const int64_t chunks =
      std::min<int64_t>((most_tokens + kChunkTokens - 1) / kChunkTokens, std::numeric_limits<int32_t>::max());
  Metadata metadata;
  metadata.SetString("general.type", "imatrix");
  metadata.SetStrings("imatrix.datasets", std::vector<std::string>{dataset});
  metadata.SetU32("imatrix.chunk_count", static_cast<uint32_t>(chunks));
  metadata.SetU32("imatrix.chunk_size", static_cast<uint32_t>(kChunkTokens));
  INK_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(path, metadata, std::move(tensors)));
  for (const auto& [name, channels] : importance) {
    const float count = static_cast<float>(channels.tokens);
    std::vector<float> sums = channels.mean_square;
    for (float& value : sums) value *= count;
    INK_RETURN_IF_ERROR(writer.Append(std::as_bytes(std::span(sums))));
    INK_RETURN_IF_ERROR(writer.Append(std::as_bytes(std::span(&count, 1))));
  }
  return writer.Finish();
}

}  // namespace inkstone

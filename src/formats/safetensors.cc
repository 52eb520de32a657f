#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "formats/json_fields.h"
#include "formats/tensor_layout.h"

namespace inkstone {
namespace {

namespace json = boost::json;

std::string_view View(json::string_view text) { return {text.data(), text.size()}; }

// Non-negative integers, as shapes and offsets are.
Result<std::vector<int64_t>> Integers(const JsonFields& fields, std::string_view key, size_t min, size_t max) {
  const json::value* value = fields.Find(key);
  const std::string expected =
      "an array of " + std::to_string(min) + " to " + std::to_string(max) + " integers from 0 to 2^63-1";
  if (value == nullptr || !value->is_array()) return fields.Wrong(key, expected);
  const json::array& array = value->get_array();
  if (array.size() < min || array.size() > max) return fields.Wrong(key, expected);
  std::vector<int64_t> out;
  for (const json::value& element : array) {
    if (!element.is_int64() || element.get_int64() < 0) {
      return fields.Wrong(key, expected + " (one is " + DescribeJson(&element) + ")");
    }
    out.push_back(element.get_int64());
  }
  return out;
}

Result<TensorInfo> ParseTensor(std::string_view tensor_name, const json::value& value, uint64_t data_offset,
                               uint64_t data_bytes, const std::string& name) {
  const std::string what = name + ": tensor " + Quote(tensor_name);
  if (!value.is_object()) return DataLoss(what + ": expected an object, found " + DescribeJson(&value));
  const JsonFields fields(value.get_object(), what);
  TensorInfo tensor;
  tensor.name = tensor_name;
  INK_ASSIGN_OR_RETURN(const std::string dtype, fields.String("dtype"));
  if (dtype != "F32" && dtype != "F16" && dtype != "BF16") {
    return Unimplemented(what + ": dtype: expected F32, F16 or BF16, found " + Quote(dtype));
  }
  tensor.dtype = *DTypeFromName(dtype);
  INK_ASSIGN_OR_RETURN(tensor.shape, Integers(fields, "shape", 0, kMaxDims));
  INK_ASSIGN_OR_RETURN(tensor.bytes, TensorBytes(tensor.dtype, tensor.shape, what + ": shape"));
  INK_ASSIGN_OR_RETURN(const std::vector<int64_t> range, Integers(fields, "data_offsets", 2, 2));
  const uint64_t begin = static_cast<uint64_t>(range[0]);
  const uint64_t end = static_cast<uint64_t>(range[1]);
  if (begin > end || end > data_bytes) {
    return DataLoss(what + ": data_offsets: expected begin <= end <= " + std::to_string(data_bytes) + ", found " +
                    ShapeText(range));
  }
  if (end - begin != tensor.bytes) {
    return DataLoss(what + ": data_offsets: expected " + std::to_string(tensor.bytes) + " bytes for " + dtype + " " +
                    ShapeText(tensor.shape) + ", found " + std::to_string(end - begin));
  }
  tensor.offset = data_offset + begin;
  return tensor;
}

// Puts the tensors in the order of their bytes and checks that these follow each other from data_offset to the end.
Status ArrangeTensors(uint64_t data_offset, uint64_t file_bytes, const std::string& name,
                      std::vector<TensorInfo>* tensors) {
  INK_ASSIGN_OR_RETURN(const std::vector<size_t> order, OrderByOffset(*tensors, name));
  std::vector<TensorInfo> sorted;
  sorted.reserve(tensors->size());
  uint64_t position = data_offset;
  for (const size_t i : order) {
    TensorInfo& tensor = (*tensors)[i];
    if (tensor.offset != position) {
      return DataLoss(name + ": tensor " + Quote(tensor.name) + ": expected its bytes at offset " +
                      std::to_string(position) + ", found " + std::to_string(tensor.offset) +
                      ": the data section has a hole");
    }
    position += tensor.bytes;
    sorted.push_back(std::move(tensor));
  }
  if (position != file_bytes) {
    return DataLoss(name + ": expected the last tensor to end the file at " + std::to_string(file_bytes) +
                    ", found its end at " + std::to_string(position));
  }
  *tensors = std::move(sorted);
  return Status::Ok();
}

bool IsPlainShardName(std::string_view name) {
  constexpr std::string_view kSuffix = ".safetensors";
  return name.size() > kSuffix.size() && name.size() <= 255 && name.ends_with(kSuffix) && !name.starts_with('.') &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c != '/' && c != '\\' && c != 0x7f; });
}

}  // namespace

Result<std::vector<TensorInfo>> ParseSafetensors(std::span<const std::byte> bytes, const std::string& name) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) {
    return DataLoss(name + ": header length at offset 0: expected 8 bytes, found " + std::to_string(bytes.size()));
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  const uint64_t most = std::min<uint64_t>(bytes.size() - sizeof(header_bytes), kMaxSafetensorsHeader);
  if (header_bytes < 2 || header_bytes > most) {
    return DataLoss(name + ": header length at offset 0: expected 2 to " + std::to_string(most) + ", found " +
                    std::to_string(header_bytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof(header_bytes), header_bytes);
  INK_ASSIGN_OR_RETURN(const json::object header, ParseJsonObject(text, name + ": header"));
  const uint64_t data_offset = sizeof(header_bytes) + header_bytes;
  std::vector<TensorInfo> tensors;
  tensors.reserve(header.size());
  for (const auto& [key, value] : header) {
    if (key == "__metadata__") continue;
    INK_ASSIGN_OR_RETURN(TensorInfo tensor,
                         ParseTensor(View(key), value, data_offset, bytes.size() - data_offset, name));
    tensors.push_back(std::move(tensor));
  }
  INK_RETURN_IF_ERROR(ArrangeTensors(data_offset, bytes.size(), name, &tensors));
  return tensors;
}

Result<ShardIndex> ParseShardIndex(std::string_view text, const std::string& name) {
  INK_ASSIGN_OR_RETURN(const json::object root, ParseJsonObject(text, name));
  const JsonFields fields(root, name);
  INK_ASSIGN_OR_RETURN(const json::object* map, fields.ObjectOrNull("weight_map"));
  if (map == nullptr || map->empty()) return fields.Wrong("weight_map", "an object that maps tensors to files");
  std::map<std::string, size_t> shards;
  for (const auto& [tensor, shard] : *map) {
    const auto* file = shard.if_string();
    if (file == nullptr || !IsPlainShardName({file->data(), file->size()})) {
      return DataLoss(name + ": weight_map of " + Quote(View(tensor)) +
                      ": expected a plain file name that ends in \".safetensors\", found " + DescribeJson(&shard));
    }
    shards.emplace(std::string(file->data(), file->size()), 0);
  }
  ShardIndex index;
  for (auto& [shard, position] : shards) {
    position = index.shards.size();
    index.shards.push_back(shard);
  }
  for (const auto& [tensor, shard] : *map) {
    const json::string& file = shard.get_string();
    index.tensors.emplace(View(tensor), shards[std::string(file.data(), file.size())]);
  }
  return index;
}

}  // namespace inkstone

#include "formats/metadata.h"

#include <utility>

namespace inkstone {
namespace {

const char* TypeName(MetaType type) {
  switch (type) {
    case MetaType::kU8:
      return "u8";
    case MetaType::kI8:
      return "i8";
    case MetaType::kU16:
      return "u16";
    case MetaType::kI16:
      return "i16";
    case MetaType::kU32:
      return "u32";
    case MetaType::kI32:
      return "i32";
    case MetaType::kF32:
      return "f32";
    case MetaType::kBool:
      return "bool";
    case MetaType::kString:
      return "string";
    case MetaType::kArray:
      return "array";
    case MetaType::kU64:
      return "u64";
    case MetaType::kI64:
      return "i64";
    case MetaType::kF64:
      return "f64";
  }
  return "unknown";
}

std::string Describe(const MetaValue& value) {
  if (const auto* array = std::get_if<MetaArray>(&value.value)) {
    return "array of " + std::to_string(array->size()) + " " + TypeName(array->type);
  }
  return TypeName(value.type);
}

Status Missing(const std::string& source, std::string_view key, const char* expected) {
  return NotFound(source + ": " + std::string(key) + ": expected " + expected + ", found no such key");
}

Status WrongType(const std::string& source, std::string_view key, const char* expected, const MetaValue& found) {
  return DataLoss(source + ": " + std::string(key) + ": expected " + expected + ", found " + Describe(found));
}

// The elements of an array value that holds T, or an error.
template <typename T>
Result<std::span<const T>> Elements(const Metadata& metadata, std::string_view key, const char* expected) {
  const MetaValue* value = metadata.Find(key);
  if (value == nullptr) return Missing(metadata.source(), key, expected);
  const auto* array = std::get_if<MetaArray>(&value->value);
  const auto* elements = array == nullptr ? nullptr : std::get_if<std::vector<T>>(&array->values);
  if (elements == nullptr) return WrongType(metadata.source(), key, expected, *value);
  return std::span<const T>(*elements);
}

}  // namespace

size_t MetaArray::size() const {
  return std::visit([](const auto& v) { return v.size(); }, values);
}

const MetaValue* Metadata::Find(std::string_view key) const {
  const auto it = index_.find(key);
  return it == index_.end() ? nullptr : &entries_[it->second].value;
}

Result<int64_t> Metadata::GetInt(std::string_view key) const {
  const MetaValue* value = Find(key);
  if (value == nullptr) return Missing(source_, key, "an integer");
  if (const auto* i = std::get_if<int64_t>(&value->value)) return *i;
  return WrongType(source_, key, "an integer", *value);
}

Result<double> Metadata::GetFloat(std::string_view key) const {
  const MetaValue* value = Find(key);
  if (value == nullptr) return Missing(source_, key, "a number");
  if (const auto* d = std::get_if<double>(&value->value)) return *d;
  if (const auto* i = std::get_if<int64_t>(&value->value)) return static_cast<double>(*i);
  return WrongType(source_, key, "a number", *value);
}

Result<bool> Metadata::GetBool(std::string_view key) const {
  const MetaValue* value = Find(key);
  if (value == nullptr) return Missing(source_, key, "a bool");
  if (const auto* b = std::get_if<bool>(&value->value)) return *b;
  return WrongType(source_, key, "a bool", *value);
}

Result<std::string_view> Metadata::GetString(std::string_view key) const {
  const MetaValue* value = Find(key);
  if (value == nullptr) return Missing(source_, key, "a string");
  if (const auto* s = std::get_if<std::string_view>(&value->value)) return *s;
  return WrongType(source_, key, "a string", *value);
}

Result<std::span<const std::string_view>> Metadata::GetStrings(std::string_view key) const {
  return Elements<std::string_view>(*this, key, "an array of strings");
}

Result<std::span<const int64_t>> Metadata::GetInts(std::string_view key) const {
  return Elements<int64_t>(*this, key, "an array of integers");
}

Result<std::span<const double>> Metadata::GetFloats(std::string_view key) const {
  return Elements<double>(*this, key, "an array of floats");
}

Result<int64_t> Metadata::GetIntOr(std::string_view key, int64_t fallback) const {
  if (Find(key) == nullptr) return fallback;
  return GetInt(key);
}

Result<double> Metadata::GetFloatOr(std::string_view key, double fallback) const {
  if (Find(key) == nullptr) return fallback;
  return GetFloat(key);
}

Result<bool> Metadata::GetBoolOr(std::string_view key, bool fallback) const {
  if (Find(key) == nullptr) return fallback;
  return GetBool(key);
}

Result<std::string_view> Metadata::GetStringOr(std::string_view key, std::string_view fallback) const {
  if (Find(key) == nullptr) return fallback;
  return GetString(key);
}

void Metadata::SetU32(std::string_view key, uint32_t value) {
  SetView(key, MetaValue{MetaType::kU32, static_cast<int64_t>(value)});
}

void Metadata::SetF32(std::string_view key, float value) {
  SetView(key, MetaValue{MetaType::kF32, static_cast<double>(value)});
}

void Metadata::SetBool(std::string_view key, bool value) { SetView(key, MetaValue{MetaType::kBool, value}); }

void Metadata::SetString(std::string_view key, std::string_view value) {
  SetView(key, MetaValue{MetaType::kString, Own(value)});
}

void Metadata::SetStrings(std::string_view key, std::span<const std::string> values) {
  std::vector<std::string_view> views;
  views.reserve(values.size());
  for (const std::string& value : values) views.push_back(Own(value));
  SetView(key, MetaValue{MetaType::kArray, MetaArray{MetaType::kString, std::move(views)}});
}

void Metadata::SetI32s(std::string_view key, std::span<const int32_t> values) {
  std::vector<int64_t> wide(values.begin(), values.end());
  SetView(key, MetaValue{MetaType::kArray, MetaArray{MetaType::kI32, std::move(wide)}});
}

void Metadata::SetF32s(std::string_view key, std::span<const float> values) {
  std::vector<double> wide(values.begin(), values.end());
  SetView(key, MetaValue{MetaType::kArray, MetaArray{MetaType::kF32, std::move(wide)}});
}

void Metadata::SetView(std::string_view key, MetaValue value) {
  if (const auto it = index_.find(key); it != index_.end()) {
    entries_[it->second].value = std::move(value);
    return;
  }
  const std::string_view owned = Own(key);
  index_.emplace(owned, entries_.size());
  entries_.push_back({owned, std::move(value)});
}

void Metadata::Erase(std::string_view key) {
  const auto it = index_.find(key);
  if (it == index_.end()) return;
  const size_t position = it->second;
  index_.erase(it);
  entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(position));
  for (size_t i = position; i < entries_.size(); ++i) index_[entries_[i].key] = i;
}

Metadata Metadata::ShallowCopy() const {
  Metadata copy(source_);
  copy.entries_ = entries_;
  copy.index_ = index_;
  copy.storage_ = storage_;
  return copy;
}

std::string_view Metadata::Own(std::string_view text) { return storage_->emplace_back(text); }

}  // namespace inkstone

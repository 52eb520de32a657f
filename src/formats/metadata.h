// Typed key-value metadata with GGUF's value types and GGUF's key names ("qwen3.block_count"). A Hugging Face folder is
// translated to the same keys (hf_folder.cc), so that everything above this layer reads one vocabulary.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "core/status.h"

namespace inkstone {

// Numbered as in the GGUF specification (gguf_metadata_value_type).
enum class MetaType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// An array of one scalar type. Integers of any width and bools are held as int64 (u64 above 2^63-1 is refused by the
// reader), floats as double; `type` remembers the width for writing. Strings view storage owned by the Metadata or by
// the mapped file behind it.
struct MetaArray {
  MetaType type = MetaType::kU32;
  std::variant<std::vector<int64_t>, std::vector<double>, std::vector<std::string_view>> values;
  size_t size() const;
};

struct MetaValue {
  MetaType type = MetaType::kU32;
  std::variant<int64_t, double, bool, std::string_view, MetaArray> value;
};

class Metadata {
 public:
  // `source` names the file in error messages.
  explicit Metadata(std::string source = "") : source_(std::move(source)) {}
  Metadata(Metadata&&) = default;
  Metadata& operator=(Metadata&&) = default;

  struct Entry {
    std::string_view key;
    MetaValue value;
  };
  const std::string& source() const { return source_; }
  std::span<const Entry> entries() const { return entries_; }
  const MetaValue* Find(std::string_view key) const;

  // Typed reads. A missing key is kNotFound; a wrong type is kDataLoss; both name source, key, expected and found.
  // Integers of every width convert; GetFloat takes integers too.
  Result<int64_t> GetInt(std::string_view key) const;
  Result<double> GetFloat(std::string_view key) const;
  Result<bool> GetBool(std::string_view key) const;
  Result<std::string_view> GetString(std::string_view key) const;
  Result<std::span<const std::string_view>> GetStrings(std::string_view key) const;
  Result<std::span<const int64_t>> GetInts(std::string_view key) const;
  Result<std::span<const double>> GetFloats(std::string_view key) const;

  // The value where the key exists (with the right type, else an error), `fallback` where it does not.
  Result<int64_t> GetIntOr(std::string_view key, int64_t fallback) const;
  Result<double> GetFloatOr(std::string_view key, double fallback) const;
  Result<bool> GetBoolOr(std::string_view key, bool fallback) const;
  Result<std::string_view> GetStringOr(std::string_view key, std::string_view fallback) const;

  // Appends or replaces. Keys are copied into storage owned here, and so are the strings of Set*; SetView keeps the
  // value's views, which must outlive this object.
  void SetU32(std::string_view key, uint32_t value);
  void SetF32(std::string_view key, float value);
  void SetBool(std::string_view key, bool value);
  void SetString(std::string_view key, std::string_view value);
  void SetStrings(std::string_view key, std::span<const std::string> values);
  void SetI32s(std::string_view key, std::span<const int32_t> values);
  void SetF32s(std::string_view key, std::span<const float> values);
  void SetView(std::string_view key, MetaValue value);
  void Erase(std::string_view key);
  // A copy that shares the strings owned here; what SetView left views to (a mapped file) the caller keeps alive.
  Metadata ShallowCopy() const;

 private:
  std::string_view Own(std::string_view text);

  std::string source_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string_view, size_t> index_;  // key -> position in entries_
  std::shared_ptr<std::deque<std::string>> storage_ = std::make_shared<std::deque<std::string>>();
};

}  // namespace inkstone

// Values of the template language: Python's, as far as chat templates can see them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/status.h"

namespace inkstone::jinja {

// Wide enough for every integer that JSON readers keep exact (int64 and uint64); beyond it arithmetic fails.
__extension__ using Int = __int128;

// Thrown and caught inside the interpreter only; ChatTemplate turns it into a Status.
struct Error {
  StatusCode code = StatusCode::kDataLoss;
  std::string message;
};
[[noreturn]] void Fail(std::string message);

// Bytes held by the values of one rendering.
struct Budget {
  int64_t live_bytes = 0;
  int64_t max_bytes = 0;
};

// Base of everything shared. `depth` is the nesting of containers below it: bounded, so recursion over values is too.
struct Heap {
  Heap() = default;
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;
  virtual ~Heap() {
    if (budget != nullptr) budget->live_bytes -= bytes;
  }
  Budget* budget = nullptr;
  int64_t bytes = 0;
  int depth = 0;
};

struct String;
struct Sequence;
struct Dict;
struct Object;

enum class Type : uint8_t { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kTuple, kDict, kObject };

// Immutable but for namespace objects. Cheap to copy.
class Value {
 public:
  Value() = default;  // undefined
  Value(Type type, std::shared_ptr<Heap> heap) : heap_(std::move(heap)), type_(type) {}
  static Value None() { return Value(Type::kNone, nullptr); }
  static Value Bool(bool b) {
    Value v(Type::kBool, nullptr);
    v.int_ = b ? 1 : 0;
    return v;
  }
  static Value Integer(Int i) {
    Value v(Type::kInt, nullptr);
    v.int_ = i;
    return v;
  }
  static Value Float(double f) {
    Value v(Type::kFloat, nullptr);
    v.float_ = f;
    return v;
  }

  Type type() const { return type_; }
  bool is_undefined() const { return type_ == Type::kUndefined; }
  bool is_none() const { return type_ == Type::kNone; }
  bool is_bool() const { return type_ == Type::kBool; }
  bool is_int() const { return type_ == Type::kInt; }
  bool is_integral() const { return type_ == Type::kInt || type_ == Type::kBool; }
  bool is_float() const { return type_ == Type::kFloat; }
  bool is_number() const { return is_integral() || is_float(); }
  bool is_string() const { return type_ == Type::kString; }
  bool is_list() const { return type_ == Type::kList; }
  bool is_tuple() const { return type_ == Type::kTuple; }
  bool is_sequence() const { return is_list() || is_tuple(); }
  bool is_dict() const { return type_ == Type::kDict; }
  bool is_object() const { return type_ == Type::kObject; }

  // Each needs the matching type.
  bool boolean() const { return int_ != 0; }
  Int integer() const { return int_; }  // of an int or a bool
  double number() const { return is_float() ? float_ : static_cast<double>(int_); }
  const String& string() const;
  const std::string& text() const;
  const std::vector<Value>& items() const;  // of a list or a tuple
  const Dict& dict() const;
  Object& object() const;
  const Heap* heap() const { return heap_.get(); }
  int depth() const { return heap_ ? heap_->depth : 0; }

  // The object as T, or null.
  template <typename T>
  std::shared_ptr<T> As() const {
    return is_object() ? std::dynamic_pointer_cast<T>(heap_) : nullptr;
  }

 private:
  Int int_ = 0;
  double float_ = 0;
  std::shared_ptr<Heap> heap_;
  Type type_ = Type::kUndefined;
};

// Why a value is undefined: the message of the error when it is used.
struct Undefined : Heap {
  explicit Undefined(std::string m) : message(std::move(m)) {}
  std::string message;
};

struct String : Heap {
  String(std::string t, bool m);
  std::string text;  // UTF-8; ill-formed bytes are kept and count as one code point each
  int64_t length;    // in code points
  bool markup;       // result of |safe or |escape: other text joined to it by + is escaped
};

struct Sequence : Heap {
  explicit Sequence(std::vector<Value> i, bool g) : items(std::move(i)), is_group(g) {}
  std::vector<Value> items;
  bool is_group;  // a (grouper, list) pair of |groupby
};

// Keeps the order of insertion.
struct Dict : Heap {
  using Item = std::pair<Value, Value>;
  std::vector<Item> items;
  std::unordered_map<std::string, size_t> index;  // by HashKey, once there are many items
};

// Arguments of a call, evaluated.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Runtime;
struct Iterator;

// Everything that is not plain data: functions, loops, namespaces, iterators, ranges, views of dicts.
struct Object : Heap {
  virtual std::string_view type_name() const = 0;  // Python's, for messages
  virtual std::string Repr(Runtime& rt);
  virtual bool callable() const { return false; }
  virtual bool iterable() const { return false; }
  virtual bool indexable() const { return false; }                            // has __getitem__
  virtual std::optional<int64_t> Length() const { return std::nullopt; }      // nothing: has no len()
  virtual std::shared_ptr<Iterator> Iterate(Runtime& rt, const Value& self);  // fails unless iterable
  // Nothing: no such attribute.
  virtual std::optional<Value> Attribute(Runtime& rt, const Value& self, std::string_view name);
  virtual std::optional<Value> Item(Runtime& rt, const Value& key);          // nothing: no such item
  virtual bool Contains(Runtime& rt, const Value& self, const Value& item);  // by iteration unless overridden
  virtual Value Call(Runtime& rt, const Args& args);                         // fails unless callable
};

// A Python iterator: consumed once, always true, has no length.
struct Iterator : Object {
  bool iterable() const override { return true; }
  std::string_view type_name() const override { return "generator"; }
  virtual bool Next(Runtime& rt, Value* out) = 0;  // false at the end
};

}  // namespace inkstone::jinja

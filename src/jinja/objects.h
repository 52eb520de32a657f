// Built-in objects: iterators, ranges, views of dicts, namespaces, bound methods.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "jinja/runtime.h"

namespace inkstone::jinja {

// What a lazy filter or a generator yields. `step` returns false at the end.
class GeneratorIterator : public Iterator {
 public:
  using Step = std::function<bool(Runtime&, Value*)>;
  GeneratorIterator(std::string_view type_name, Step step) : type_name_(type_name), step_(std::move(step)) {}
  std::string_view type_name() const override { return type_name_; }
  bool Next(Runtime& rt, Value* out) override {
    rt.Step();
    return step_(rt, out);
  }

 private:
  std::string_view type_name_;  // a literal
  Step step_;
};

// Items of a list, a tuple or a string, or the keys of a dict.
class ItemIterator : public Iterator {
 public:
  ItemIterator(Value source, bool reversed);
  std::string_view type_name() const override { return reversed_ ? "list_reverseiterator" : "list_iterator"; }
  bool Next(Runtime& rt, Value* out) override;

 private:
  Value source_;
  bool reversed_;
  size_t pos_ = 0;  // index of the next item; of a string, its byte offset
};

class Range : public Object {
 public:
  Range(Int start, Int stop, Int step, int64_t count) : start_(start), stop_(stop), step_(step), count_(count) {}
  std::string_view type_name() const override { return "range"; }
  std::string Repr(Runtime& rt) override;
  bool iterable() const override { return true; }
  bool indexable() const override { return true; }
  std::optional<int64_t> Length() const override { return count_; }
  std::shared_ptr<Iterator> Iterate(Runtime& rt, const Value& self) override;
  std::optional<Value> Item(Runtime& rt, const Value& key) override;
  Value At(int64_t i) const { return Value::Integer(start_ + step_ * i); }
  Int step() const { return step_; }

 private:
  Int start_;
  Int stop_;
  Int step_;
  int64_t count_;
};

class DictView : public Object {
 public:
  enum class Kind { kKeys, kValues, kItems };
  DictView(Value dict, Kind kind) : dict_(std::move(dict)), kind_(kind) {}
  std::string_view type_name() const override;
  std::string Repr(Runtime& rt) override;
  bool iterable() const override { return true; }
  std::optional<int64_t> Length() const override { return static_cast<int64_t>(dict_.dict().items.size()); }
  std::shared_ptr<Iterator> Iterate(Runtime& rt, const Value& self) override;
  bool Contains(Runtime& rt, const Value& self, const Value& item) override;
  Value At(Runtime& rt, size_t i) const;

 private:
  Value dict_;
  Kind kind_;
};

// The only mutable value. Kept alive until the end of the rendering, so that chains and cycles of them are harmless.
class Namespace : public Object {
 public:
  std::string_view type_name() const override { return "Namespace"; }
  std::string Repr(Runtime& rt) override;
  std::optional<Value> Attribute(Runtime& rt, const Value& self, std::string_view name) override;
  void Set(Runtime& rt, const std::string& name, Value value);
  void Clear() { attributes_.clear(); }

 private:
  std::vector<std::pair<std::string, Value>> attributes_;
};

class BoundMethod : public Object {
 public:
  BoundMethod(Value self, std::string name, Function function)
      : self_(std::move(self)), name_(std::move(name)), function_(function) {}
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  Value Call(Runtime& rt, const Args& args) override;
  std::string Repr(Runtime&) override {
    return "<built-in method " + name_ + " of " + std::string(TypeName(self_)) + " object>";
  }

 private:
  Value self_;
  std::string name_;
  Function function_;
};

// Clamps (start, stop, step) to a sequence of `length`: first index, step and number of items, as slice.indices.
struct SliceIndices {
  int64_t start = 0;
  int64_t stop = 0;
  int64_t step = 1;
  int64_t count = 0;
};
SliceIndices Resolve(const SliceBounds& bounds, int64_t length);

}  // namespace inkstone::jinja

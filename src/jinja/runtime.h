// What evaluation needs everywhere: limits, construction of values, and Python's operations on them.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/render_limits.h"
#include "jinja/value.h"

namespace inkstone::jinja {

class Runtime {
 public:
  Runtime(const RenderLimits& limits, int64_t now);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  int64_t now() const { return now_; }  // seconds since 1970

  // Counts work; fails with kResourceExhausted past the limit, and with kCancelled once somebody wants it. Work() is
  // for loops: a step is worth kBytesPerStep bytes that are copied, and what takes longer for a byte counts as several.
  void Step() { Work(kBytesPerStep); }
  void Work(size_t bytes) {
    if ((slice_left_ -= static_cast<int64_t>(bytes)) < 0) NextSlice();
  }
  // Fails unless `bytes` more could be held.
  void Reserve(size_t bytes) const;

  Value Str(std::string text, bool markup = false);
  Value List(std::vector<Value> items) { return MakeSequence(Type::kList, std::move(items), false); }
  Value Tuple(std::vector<Value> items) { return MakeSequence(Type::kTuple, std::move(items), false); }
  Value Group(Value grouper, Value list) {
    return MakeSequence(Type::kTuple, {std::move(grouper), std::move(list)}, true);
  }
  // Later items replace the value of earlier ones with an equal key. Fails on keys that have no hash.
  Value MakeDict(std::vector<Dict::Item> items);
  Value UndefinedOf(std::string message);
  // An object of type T; `depth` is the largest depth of the values it holds.
  template <typename T, typename... A>
  Value New(int depth, A&&... args) {
    auto object = std::make_shared<T>(std::forward<A>(args)...);
    Charge(object.get(), sizeof(T), depth + 1);
    return Value(Type::kObject, std::move(object));
  }
  void Charge(Heap* heap, size_t bytes, int depth);

  // A namespace, kept until the end of the rendering: cycles and long chains of them are undone one by one.
  Value MakeNamespace();

  // Text that is being produced and is not yet a value.
  void AddPending(size_t bytes);
  void ReleasePending(size_t bytes) { budget_.live_bytes -= static_cast<int64_t>(bytes); }

  // Nesting of evaluation.
  class Nested {
   public:
    explicit Nested(Runtime& rt) : rt_(rt) {
      if (++rt_.depth_ > rt_.limits_.max_depth) rt_.DepthExhausted();
    }
    ~Nested() { --rt_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Runtime& rt_;
  };

 private:
  static constexpr size_t kBytesPerStep = 256;

  void NextSlice();
  [[noreturn]] void DepthExhausted();
  Value MakeSequence(Type type, std::vector<Value> items, bool is_group);

  RenderLimits limits_;
  Budget budget_;
  int64_t work_left_;       // bytes' worth, behind those of the slice
  int64_t slice_left_ = 0;  // until the next look at the limits
  int depth_ = 0;
  int64_t now_;
  std::vector<Value> namespaces_;
};

// Python's name of a value's type.
std::string_view TypeName(const Value& v);
// Uses of an undefined value fail with why it is undefined.
[[noreturn]] void FailUndefined(const Value& v);

bool Truthy(const Value& v);
bool Equals(Runtime& rt, const Value& a, const Value& b);
// a < b; fails where Python raises TypeError.
bool Less(Runtime& rt, const Value& a, const Value& b);
bool Identical(const Value& a, const Value& b);
bool Contains(Runtime& rt, const Value& container, const Value& item);
// A text that is equal for equal values. Fails on lists and dicts.
std::string HashKey(Runtime& rt, const Value& v);
// Null when there is no such key.
const Value* Find(Runtime& rt, const Dict& dict, const Value& key);
const Value* Find(Runtime& rt, const Dict& dict, std::string_view key);

std::string ToText(Runtime& rt, const Value& v);  // str(v)
std::string Repr(Runtime& rt, const Value& v);    // repr(v)
std::string FloatText(double d);                  // repr of a float
std::string IntText(Int i);
std::string Escape(Runtime& rt, std::string_view text);  // HTML

std::shared_ptr<Iterator> Iterate(Runtime& rt, const Value& v);
// list(v), bounded by the memory limit.
std::vector<Value> ToVector(Runtime& rt, const Value& v);
std::optional<int64_t> LengthOf(const Value& v);  // nothing when len() fails

Value GetAttribute(Runtime& rt, const Value& object, const std::string& name);  // a.b
Value GetItem(Runtime& rt, const Value& object, const Value& key);              // a[b]
struct SliceBounds {
  Value start, stop, step;  // None when left out
};
Value GetSlice(Runtime& rt, const Value& object, const SliceBounds& bounds);  // a[b:c:d]
Value Call(Runtime& rt, const Value& callee, const Args& args);

enum class Operator { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
Value Binary(Runtime& rt, Operator op, const Value& a, const Value& b);
Value Negate(const Value& v);
Value Positive(const Value& v);

// "..." % args, printf style.
std::string FormatPercent(Runtime& rt, const std::string& format, const Value& args);
// "...".format(args).
std::string FormatBraces(Runtime& rt, const std::string& format, const Args& args);

// Arguments bound to parameter names as Python binds them. A name "" can't be given by keyword.
class Params {
 public:
  Params(std::string_view function, const Args& args, std::initializer_list<std::string_view> names, size_t required);
  bool has(size_t i) const { return values_[i] != nullptr; }
  const Value& operator[](size_t i) const { return *values_[i]; }
  const Value& get(size_t i, const Value& otherwise) const { return has(i) ? *values_[i] : otherwise; }
  bool flag(size_t i, bool otherwise) const { return has(i) ? Truthy(*values_[i]) : otherwise; }
  bool given(size_t i) const { return has(i) && !values_[i]->is_none(); }
  int64_t integer(size_t i, int64_t otherwise) const;              // fails unless an int
  const std::string& text(size_t i, std::string_view what) const;  // fails unless a string

 private:
  std::string_view function_;
  std::vector<const Value*> values_;
};

// Clamps to int64.
int64_t ToInt64(Int i);

using Function = Value (*)(Runtime&, const Args&);
// Null when there is none. A filter's subject is the first positional argument.
Function FindFilter(std::string_view name);
Function FindTest(std::string_view name);
Function FindStringMethod(std::string_view name);  // `self` is the first positional argument
Function FindListMethod(std::string_view name);
Function FindTupleMethod(std::string_view name);
Function FindDictMethod(std::string_view name);
Function FindGlobal(std::string_view name);
Value FunctionValue(Runtime& rt, std::string name, Function function);

}  // namespace inkstone::jinja

#include "jinja/runtime.h"

#include <algorithm>

#include "jinja/objects.h"

namespace inkstone::jinja {
namespace {

// Containers nested deeper than this fail, so that recursion over values stays shallow.
constexpr int kMaxValueDepth = 128;
// Values alive at one time; a whole 256K-token conversation is some 2 MB.
constexpr int64_t kMaxLiveBytes = 48 << 20;
// Between two looks at whether somebody has cancelled: some milliseconds at most.
constexpr int64_t kSliceWork = 1 << 20;
// Dictionaries of more items than this get a hash index.
constexpr size_t kLinearSearchItems = 8;

class BuiltinFunction : public Object {
 public:
  BuiltinFunction(std::string name, Function function) : name_(std::move(name)), function_(function) {}
  std::string_view type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Value Call(Runtime& rt, const Args& args) override { return function_(rt, args); }
  std::string Repr(Runtime&) override { return "<function " + name_ + ">"; }

 private:
  std::string name_;
  Function function_;
};

}  // namespace

Runtime::Runtime(const RenderLimits& limits, int64_t now)
    : limits_(limits), work_left_(limits.max_steps * static_cast<int64_t>(kBytesPerStep)), now_(now) {
  budget_.max_bytes = std::min(kMaxLiveBytes, limits.max_output_bytes);
}

Runtime::~Runtime() {
  for (const Value& v : namespaces_) v.As<Namespace>()->Clear();
}

Value Runtime::MakeNamespace() {
  namespaces_.push_back(New<Namespace>(0));
  return namespaces_.back();
}

void Runtime::NextSlice() {
  if (limits_.stop.stop_requested()) throw Error{StatusCode::kCancelled, "rendering was cancelled"};
  work_left_ += slice_left_;  // what was taken too much
  if (work_left_ < 0) {
    throw Error{StatusCode::kResourceExhausted,
                "the template needs more than " + std::to_string(limits_.max_steps) + " steps"};
  }
  slice_left_ = std::min(work_left_, kSliceWork);
  work_left_ -= slice_left_;
}

void Runtime::DepthExhausted() {
  --depth_;  // the guard's constructor does not complete
  throw Error{StatusCode::kResourceExhausted,
              "the template nests deeper than " + std::to_string(limits_.max_depth) + " levels"};
}

void Runtime::Reserve(size_t bytes) const {
  if (bytes > static_cast<size_t>(budget_.max_bytes) ||
      budget_.live_bytes + static_cast<int64_t>(bytes) > budget_.max_bytes) {
    throw Error{StatusCode::kResourceExhausted,
                "the template holds more than " + std::to_string(budget_.max_bytes) + " bytes"};
  }
}

void Runtime::AddPending(size_t bytes) {
  Reserve(bytes);
  budget_.live_bytes += static_cast<int64_t>(bytes);
}

void Runtime::Charge(Heap* heap, size_t bytes, int depth) {
  if (depth > kMaxValueDepth) {
    throw Error{StatusCode::kResourceExhausted,
                "values nest deeper than " + std::to_string(kMaxValueDepth) + " levels"};
  }
  Reserve(bytes);
  heap->depth = depth;
  heap->budget = &budget_;
  heap->bytes = static_cast<int64_t>(bytes);
  budget_.live_bytes += heap->bytes;
}

Value Runtime::Str(std::string text, bool markup) {
  Reserve(text.size());
  Work(text.size());
  auto heap = std::make_shared<String>(std::move(text), markup);
  Charge(heap.get(), sizeof(String) + heap->text.capacity(), 0);
  return Value(Type::kString, std::move(heap));
}

Value Runtime::MakeSequence(Type type, std::vector<Value> items, bool is_group) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  Work(items.size() * 32);
  auto heap = std::make_shared<Sequence>(std::move(items), is_group);
  Charge(heap.get(), sizeof(Sequence) + heap->items.capacity() * sizeof(Value), depth + 1);
  return Value(type, std::move(heap));
}

Value Runtime::MakeDict(std::vector<Dict::Item> items) {
  auto dict = std::make_shared<Dict>();
  const bool indexed = items.size() > kLinearSearchItems;
  int depth = 0;
  size_t bytes = sizeof(Dict);
  for (Dict::Item& item : items) {
    Step();
    std::string key = HashKey(*this, item.first);
    depth = std::max({depth, item.first.depth(), item.second.depth()});
    Value* existing = nullptr;
    if (indexed) {
      const auto [it, inserted] = dict->index.try_emplace(std::move(key), dict->items.size());
      if (inserted) {
        bytes += it->first.size() + sizeof(*it) + 32;
      } else {
        existing = &dict->items[it->second].second;
      }
    } else {
      const auto same = [&](const Dict::Item& other) { return Equals(*this, other.first, item.first); };
      const auto it = std::find_if(dict->items.begin(), dict->items.end(), same);
      if (it != dict->items.end()) existing = &it->second;
    }
    if (existing != nullptr) {
      *existing = std::move(item.second);
    } else {
      bytes += sizeof(Dict::Item);
      dict->items.push_back(std::move(item));
    }
  }
  Charge(dict.get(), bytes, depth + 1);
  return Value(Type::kDict, std::move(dict));
}

Value Runtime::UndefinedOf(std::string message) {
  auto heap = std::make_shared<Undefined>(std::move(message));
  Charge(heap.get(), sizeof(Undefined) + heap->message.capacity(), 0);
  return Value(Type::kUndefined, std::move(heap));
}

Value FunctionValue(Runtime& rt, std::string name, Function function) {
  return rt.New<BuiltinFunction>(0, std::move(name), function);
}

int64_t ToInt64(Int i) {
  if (i > INT64_MAX) return INT64_MAX;
  if (i < INT64_MIN) return INT64_MIN;
  return static_cast<int64_t>(i);
}

Params::Params(std::string_view function, const Args& args, std::initializer_list<std::string_view> names,
               size_t required)
    : function_(function), values_(names.size(), nullptr) {
  const std::string call = std::string(function) + "()";
  if (args.positional.size() > names.size()) {
    Fail(call + " takes at most " + std::to_string(names.size()) + " arguments (" +
         std::to_string(args.positional.size()) + " given)");
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [name, value] : args.named) {
    const auto it = name.empty() ? names.end() : std::find(names.begin(), names.end(), name);
    if (it == names.end()) Fail(call + " got an unexpected keyword argument '" + name + "'");
    const Value*& slot = values_[static_cast<size_t>(it - names.begin())];
    if (slot != nullptr) Fail(call + " got multiple values for argument '" + name + "'");
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i] == nullptr) Fail(call + " misses a required argument");
  }
}

int64_t Params::integer(size_t i, int64_t otherwise) const {
  if (!has(i)) return otherwise;
  const Value& v = *values_[i];
  if (v.is_undefined()) FailUndefined(v);
  if (!v.is_integral()) {
    Fail(std::string(function_) + "(): '" + std::string(TypeName(v)) + "' object cannot be interpreted as an integer");
  }
  return ToInt64(v.integer());
}

const std::string& Params::text(size_t i, std::string_view what) const {
  const Value& v = *values_[i];
  if (!v.is_string()) {
    Fail(std::string(function_) + "() " + std::string(what) + " must be str, not " + std::string(TypeName(v)));
  }
  return v.text();
}

}  // namespace inkstone::jinja

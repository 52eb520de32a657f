// Attribute and item access, slices, iteration and calls, with the rules of jinja2's immutable sandbox.
#include <algorithm>
#include <array>

#include "jinja/objects.h"
#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

template <size_t N>
bool IsOneOf(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Methods that would change their object: present, but unusable in the sandbox.
bool Mutates(const Value& object, std::string_view name) {
  static constexpr std::array<std::string_view, 8> kList = {"append", "clear", "pop",    "reverse",
                                                            "insert", "sort",  "extend", "remove"};
  static constexpr std::array<std::string_view, 5> kDict = {"clear", "pop", "popitem", "setdefault", "update"};
  return (object.is_list() && IsOneOf(name, kList)) || (object.is_dict() && IsOneOf(name, kDict));
}

// Attributes that every Python object has.
bool IsInternal(std::string_view name) {
  static constexpr std::array<std::string_view, 22> kInternal = {
      "__class__",   "__doc__",          "__init__",      "__dict__",   "__eq__",           "__ne__",
      "__lt__",      "__le__",           "__gt__",        "__ge__",     "__hash__",         "__str__",
      "__repr__",    "__new__",          "__reduce__",    "__format__", "__getattribute__", "__setattr__",
      "__delattr__", "__subclasshook__", "__reduce_ex__", "__sizeof__"};
  return IsOneOf(name, kInternal);
}

Function FindMethod(const Value& object, std::string_view name) {
  switch (object.type()) {
    case Type::kString:
      return FindStringMethod(name);
    case Type::kList:
      return FindListMethod(name);
    case Type::kTuple:
      return FindTupleMethod(name);
    case Type::kDict:
      return FindDictMethod(name);
    default:
      return nullptr;
  }
}

// Python's getattr(); nothing when it would raise AttributeError.
std::optional<Value> PlainAttribute(Runtime& rt, const Value& object, const std::string& name) {
  if (Mutates(object, name) || IsInternal(name)) {
    return rt.UndefinedOf("access to attribute '" + name + "' of '" + std::string(TypeName(object)) +
                          "' object is unsafe.");
  }
  if (object.is_object()) return object.object().Attribute(rt, object, name);
  if (const Function method = FindMethod(object, name)) {
    return rt.New<BoundMethod>(object.depth(), object, name, method);
  }
  if (object.is_tuple() && static_cast<const Sequence*>(object.heap())->is_group) {
    if (name == "grouper") return object.items()[0];
    if (name == "list") return object.items()[1];
  }
  return std::nullopt;
}

// Python's object[key]; nothing when it would raise LookupError or TypeError.
std::optional<Value> PlainItem(Runtime& rt, const Value& object, const Value& key) {
  switch (object.type()) {
    case Type::kDict: {
      if (key.is_list() || key.is_dict()) return std::nullopt;
      const Value* found = Find(rt, object.dict(), key);
      return found != nullptr ? std::optional<Value>(*found) : std::nullopt;
    }
    case Type::kString:
    case Type::kList:
    case Type::kTuple: {
      if (!key.is_integral()) return std::nullopt;
      const Int length = object.is_string() ? object.string().length : static_cast<Int>(object.items().size());
      Int i = key.integer();
      if (i < 0) i += length;
      if (i < 0 || i >= length) return std::nullopt;
      if (!object.is_string()) return object.items()[static_cast<size_t>(i)];
      const std::string& s = object.text();
      if (object.string().length != static_cast<int64_t>(s.size())) rt.Work(s.size());
      const size_t at = ByteOffset(s, object.string().length, static_cast<int64_t>(i));
      return rt.Str(s.substr(at, CodePointBytes(s, at)), object.string().markup);
    }
    case Type::kObject:
      return object.object().Item(rt, key);
    default:
      return std::nullopt;
  }
}

std::string DescribeObject(const Value& object) {
  return object.is_none() ? "None" : std::string(TypeName(object)) + " object";
}

Value SliceText(Runtime& rt, const Value& object, const SliceIndices& slice) {
  const std::string& s = object.text();
  const int64_t length = object.string().length;
  const bool ascii = length == static_cast<int64_t>(s.size());
  rt.Work(s.size());
  if (slice.count == 0) return rt.Str("", object.string().markup);
  if (slice.step == 1) {
    const size_t begin = ByteOffset(s, length, slice.start);
    const size_t end = ByteOffset(s, length, slice.start + slice.count);
    return rt.Str(s.substr(begin, end - begin), object.string().markup);
  }
  rt.Work(s.size() * 3);
  std::vector<size_t> offsets;
  if (!ascii) {
    rt.Reserve(static_cast<size_t>(length) * sizeof(size_t));
    offsets.reserve(static_cast<size_t>(length));
    for (size_t i = 0; i < s.size(); i += CodePointBytes(s, i)) offsets.push_back(i);
  }
  std::string out;
  for (int64_t k = 0; k < slice.count; ++k) {
    const auto i = static_cast<size_t>(slice.start + k * slice.step);
    const size_t at = ascii ? i : offsets[i];
    out.append(s, at, CodePointBytes(s, at));
  }
  return rt.Str(std::move(out), object.string().markup);
}

}  // namespace

Value GetAttribute(Runtime& rt, const Value& object, const std::string& name) {
  if (object.is_undefined() && !IsInternal(name)) FailUndefined(object);
  if (auto found = PlainAttribute(rt, object, name)) return *std::move(found);
  if (object.is_dict()) {
    if (const Value* found = Find(rt, object.dict(), name)) return *found;
  }
  return rt.UndefinedOf("'" + DescribeObject(object) + "' has no attribute '" + name + "'");
}

Value GetItem(Runtime& rt, const Value& object, const Value& key) {
  if (object.is_undefined()) FailUndefined(object);
  if (auto found = PlainItem(rt, object, key)) return *std::move(found);
  if (key.is_string()) {
    if (auto found = PlainAttribute(rt, object, key.text())) return *std::move(found);
    return rt.UndefinedOf("'" + DescribeObject(object) + "' has no attribute '" + key.text() + "'");
  }
  return rt.UndefinedOf(DescribeObject(object) + " has no element " + Repr(rt, key));
}

Value GetSlice(Runtime& rt, const Value& object, const SliceBounds& bounds) {
  if (object.is_undefined()) FailUndefined(object);
  if (object.is_string()) return SliceText(rt, object, Resolve(bounds, object.string().length));
  if (object.is_sequence()) {
    const std::vector<Value>& all = object.items();
    const SliceIndices slice = Resolve(bounds, static_cast<int64_t>(all.size()));
    std::vector<Value> items;
    rt.Reserve(static_cast<size_t>(slice.count) * sizeof(Value));
    items.reserve(static_cast<size_t>(slice.count));
    for (int64_t k = 0; k < slice.count; ++k) items.push_back(all[static_cast<size_t>(slice.start + k * slice.step)]);
    return object.is_list() ? rt.List(std::move(items)) : rt.Tuple(std::move(items));
  }
  if (const auto range = object.As<Range>()) {
    const SliceIndices slice = Resolve(bounds, *range->Length());
    return rt.New<Range>(0, range->At(slice.start).integer(), range->At(slice.stop).integer(),
                         range->step() * slice.step, slice.count);
  }
  Fail("'" + std::string(TypeName(object)) + "' object can't be sliced");
}

std::shared_ptr<Iterator> Iterate(Runtime& rt, const Value& v) {
  switch (v.type()) {
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
    case Type::kDict:
      return rt.New<ItemIterator>(v.depth(), v, false).As<Iterator>();
    case Type::kUndefined:
      return rt.New<ItemIterator>(1, rt.List({}), false).As<Iterator>();
    case Type::kObject:
      return v.object().Iterate(rt, v);
    default:
      Fail("'" + std::string(TypeName(v)) + "' object is not iterable");
  }
}

std::vector<Value> ToVector(Runtime& rt, const Value& v) {
  if (v.is_sequence()) return v.items();
  std::vector<Value> items;
  const auto it = Iterate(rt, v);
  for (Value item; it->Next(rt, &item);) {
    if (items.size() % 256 == 0) rt.Reserve(items.size() * 2 * sizeof(Value));
    items.push_back(std::move(item));
  }
  return items;
}

std::optional<int64_t> LengthOf(const Value& v) {
  switch (v.type()) {
    case Type::kUndefined:
      return 0;
    case Type::kString:
      return v.string().length;
    case Type::kList:
    case Type::kTuple:
      return static_cast<int64_t>(v.items().size());
    case Type::kDict:
      return static_cast<int64_t>(v.dict().items.size());
    case Type::kObject:
      return v.object().Length();
    default:
      return std::nullopt;
  }
}

Value Call(Runtime& rt, const Value& callee, const Args& args) {
  if (callee.is_undefined()) FailUndefined(callee);
  if (!callee.is_object()) Fail("'" + std::string(TypeName(callee)) + "' object is not callable");
  return callee.object().Call(rt, args);
}

}  // namespace inkstone::jinja

// Truth, equality, order, hashing and membership, as Python defines them.
#include <algorithm>
#include <cmath>

#include "jinja/runtime.h"
#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

bool NumbersEqual(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
  if (a.is_float() && b.is_float()) return a.number() == b.number();
  const double f = a.is_float() ? a.number() : b.number();
  const Int i = a.is_float() ? b.integer() : a.integer();
  return std::fabs(f) < 1e38 && std::trunc(f) == f && static_cast<Int>(f) == i;
}

bool NumberLess(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.integer() < b.integer();
  if (a.is_float() && b.is_float()) return a.number() < b.number();
  return static_cast<long double>(a.is_float() ? static_cast<long double>(a.number())
                                               : static_cast<long double>(a.integer())) <
         static_cast<long double>(b.is_float() ? static_cast<long double>(b.number())
                                               : static_cast<long double>(b.integer()));
}

bool SequencesEqual(Runtime& rt, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!Identical(a[i], b[i]) && !Equals(rt, a[i], b[i])) return false;
  }
  return true;
}

bool DictsEqual(Runtime& rt, const Dict& a, const Dict& b) {
  if (a.items.size() != b.items.size()) return false;
  for (const auto& [key, value] : a.items) {
    const Value* other = Find(rt, b, key);
    if (other == nullptr || (!Identical(value, *other) && !Equals(rt, value, *other))) return false;
  }
  return true;
}

}  // namespace

bool Truthy(const Value& v) {
  switch (v.type()) {
    case Type::kUndefined:
    case Type::kNone:
      return false;
    case Type::kBool:
    case Type::kInt:
      return v.integer() != 0;
    case Type::kFloat:
      return v.number() != 0;
    case Type::kString:
      return !v.text().empty();
    case Type::kList:
    case Type::kTuple:
      return !v.items().empty();
    case Type::kDict:
      return !v.dict().items.empty();
    case Type::kObject:
      return v.object().Length().value_or(1) != 0;
  }
  return false;
}

bool Identical(const Value& a, const Value& b) {
  if (a.type() != b.type()) return false;
  if (a.is_none()) return true;
  if (a.is_integral()) return a.integer() == b.integer();
  if (a.heap() != nullptr || b.heap() != nullptr) return a.heap() == b.heap();
  return false;
}

bool Equals(Runtime& rt, const Value& a, const Value& b) {
  rt.Step();
  if (a.is_number() && b.is_number()) return NumbersEqual(a, b);
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Type::kString:
      rt.Work(std::min(a.text().size(), b.text().size()));
      return a.text() == b.text();
    case Type::kList:
    case Type::kTuple:
      return a.heap() == b.heap() || SequencesEqual(rt, a.items(), b.items());
    case Type::kDict:
      return a.heap() == b.heap() || DictsEqual(rt, a.dict(), b.dict());
    case Type::kObject:
      return a.heap() == b.heap();
    default:
      return true;  // undefined or none
  }
}

bool Less(Runtime& rt, const Value& a, const Value& b) {
  rt.Step();
  if (a.is_number() && b.is_number()) return NumberLess(a, b);
  if (a.is_undefined()) FailUndefined(a);
  if (b.is_undefined()) FailUndefined(b);
  if (a.is_string() && b.is_string()) {
    rt.Work(std::min(a.text().size(), b.text().size()));
    return a.text() < b.text();
  }
  if (a.is_sequence() && a.type() == b.type()) {
    const auto& x = a.items();
    const auto& y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!Identical(x[i], y[i]) && !Equals(rt, x[i], y[i])) return Less(rt, x[i], y[i]);
    }
    return x.size() < y.size();
  }
  Fail("'<' not supported between instances of '" + std::string(TypeName(a)) + "' and '" + std::string(TypeName(b)) +
       "'");
}

std::string HashKey(Runtime& rt, const Value& v) {
  rt.Step();
  switch (v.type()) {
    case Type::kUndefined:
      return "u";
    case Type::kNone:
      return "n";
    case Type::kBool:
    case Type::kInt:
      return "i" + IntText(v.integer());
    case Type::kFloat:
      if (std::fabs(v.number()) < 1e38 && std::trunc(v.number()) == v.number()) {
        return "i" + IntText(static_cast<Int>(v.number()));
      }
      return "f" + FloatText(v.number());
    case Type::kString:
      rt.Work(v.text().size());
      return "s" + v.text();
    case Type::kTuple: {
      std::string key = "t";
      for (const Value& item : v.items()) {
        const std::string part = HashKey(rt, item);
        key += std::to_string(part.size()) + ":" + part;
        rt.Reserve(key.size());
      }
      return key;
    }
    case Type::kObject:
      return "o" + std::to_string(reinterpret_cast<uintptr_t>(v.heap()));
    default:
      Fail("unhashable type: '" + std::string(TypeName(v)) + "'");
  }
}

const Value* Find(Runtime& rt, const Dict& dict, std::string_view key) {
  rt.Step();
  if (!dict.index.empty()) {
    const auto it = dict.index.find("s" + std::string(key));
    return it == dict.index.end() ? nullptr : &dict.items[it->second].second;
  }
  for (const auto& [k, v] : dict.items) {
    if (k.is_string() && k.text() == key) return &v;
  }
  return nullptr;
}

const Value* Find(Runtime& rt, const Dict& dict, const Value& key) {
  if (key.is_string()) return Find(rt, dict, key.text());
  const std::string hash = HashKey(rt, key);
  if (!dict.index.empty()) {
    const auto it = dict.index.find(hash);
    return it == dict.index.end() ? nullptr : &dict.items[it->second].second;
  }
  for (const auto& [k, v] : dict.items) {
    if (Equals(rt, k, key)) return &v;
  }
  return nullptr;
}

bool Contains(Runtime& rt, const Value& container, const Value& item) {
  switch (container.type()) {
    case Type::kUndefined:
      return false;
    case Type::kString:
      if (!item.is_string()) {
        if (item.is_undefined()) FailUndefined(item);
        Fail("'in <string>' requires string as left operand, not " + std::string(TypeName(item)));
      }
      rt.Work(container.text().size() * 4 + item.text().size() * 8);
      return FindText(container.text(), item.text()) != std::string::npos;
    case Type::kList:
    case Type::kTuple:
      for (const Value& v : container.items()) {
        if (Identical(v, item) || Equals(rt, v, item)) return true;
      }
      return false;
    case Type::kDict:
      return Find(rt, container.dict(), item) != nullptr;
    case Type::kObject:
      return container.object().Contains(rt, container, item);
    default:
      Fail("argument of type '" + std::string(TypeName(container)) + "' is not iterable");
  }
}

bool Object::Contains(Runtime& rt, const Value& self, const Value& item) {
  if (!iterable()) Fail("argument of type '" + std::string(type_name()) + "' is not iterable");
  const auto it = Iterate(rt, self);
  for (Value v; it->Next(rt, &v);) {
    if (Identical(v, item) || Equals(rt, v, item)) return true;
  }
  return false;
}

}  // namespace inkstone::jinja

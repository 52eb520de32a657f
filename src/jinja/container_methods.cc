// Methods of list, tuple and dict that don't change them.
#include "jinja/objects.h"

namespace inkstone::jinja {
namespace {

Value Count(Runtime& rt, const Args& args) {
  const Params p("count", args, {"", ""}, 2);
  Int n = 0;
  for (const Value& item : p[0].items()) n += Identical(item, p[1]) || Equals(rt, item, p[1]) ? 1 : 0;
  return Value::Integer(n);
}

Value Index(Runtime& rt, const Args& args) {
  const Params p("index", args, {"", "", "", ""}, 2);
  const std::vector<Value>& items = p[0].items();
  const auto size = static_cast<int64_t>(items.size());
  const auto clamp = [size](int64_t i) { return i < 0 ? std::max<int64_t>(0, i + size) : std::min(i, size); };
  const int64_t end = clamp(p.integer(3, size));
  for (int64_t i = clamp(p.integer(2, 0)); i < end; ++i) {
    const Value& item = items[static_cast<size_t>(i)];
    if (Identical(item, p[1]) || Equals(rt, item, p[1])) return Value::Integer(i);
  }
  Fail("the value is not in the " + std::string(TypeName(p[0])));
}

Value CopyList(Runtime& rt, const Args& args) {
  const Params p("copy", args, {""}, 1);
  return rt.List(p[0].items());
}

Value CopyDict(Runtime&, const Args& args) {
  const Params p("copy", args, {""}, 1);
  return p[0];  // dicts don't change
}

template <DictView::Kind kKind>
Value View(Runtime& rt, const Args& args) {
  const Params p("dict method", args, {""}, 1);
  return rt.New<DictView>(p[0].depth(), p[0], kKind);
}

Value Get(Runtime& rt, const Args& args) {
  const Params p("get", args, {"", "", ""}, 2);
  const Value* found = Find(rt, p[0].dict(), p[1]);
  return found != nullptr ? *found : p.get(2, Value::None());
}

}  // namespace

Function FindTupleMethod(std::string_view name) {
  if (name == "count") return Count;
  if (name == "index") return Index;
  return nullptr;
}

Function FindListMethod(std::string_view name) { return name == "copy" ? CopyList : FindTupleMethod(name); }

Function FindDictMethod(std::string_view name) {
  if (name == "copy") return CopyDict;
  if (name == "get") return Get;
  if (name == "items") return View<DictView::Kind::kItems>;
  if (name == "keys") return View<DictView::Kind::kKeys>;
  if (name == "values") return View<DictView::Kind::kValues>;
  return nullptr;
}

}  // namespace inkstone::jinja

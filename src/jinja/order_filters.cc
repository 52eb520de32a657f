// Filters that order, group and aggregate.
#include <algorithm>
#include <unordered_set>

#include "jinja/filters.h"
#include "jinja/objects.h"
#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

Value IgnoreCase(Runtime& rt, const Value& v) { return v.is_string() ? rt.Str(Lower(v.text()), v.string().markup) : v; }

struct Keyed {
  std::vector<Value> keys;
  Value item;
};

// The order of Python lists of keys.
bool KeysLess(Runtime& rt, const Keyed& a, const Keyed& b) {
  for (size_t i = 0; i < a.keys.size(); ++i) {
    if (!Identical(a.keys[i], b.keys[i]) && !Equals(rt, a.keys[i], b.keys[i])) return Less(rt, a.keys[i], b.keys[i]);
  }
  return false;
}

// Stable, also when reversed.
template <typename LessThan>
void SortStable(std::vector<Keyed>* items, bool reverse, LessThan less) {
  if (reverse) std::reverse(items->begin(), items->end());
  std::stable_sort(items->begin(), items->end(), less);
  if (reverse) std::reverse(items->begin(), items->end());
}

Value ItemsOf(Runtime& rt, std::vector<Keyed> keyed) {
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (Keyed& k : keyed) items.push_back(std::move(k.item));
  return rt.List(std::move(items));
}

Value MinOrMax(Runtime& rt, const Args& args, bool want_max) {
  const Params p(want_max ? "max" : "min", args, {"value", "case_sensitive", "attribute"}, 1);
  const bool case_sensitive = p.flag(1, false);
  const AttributeGetter getter(rt, p.get(2, Value::None()));
  const auto it = Iterate(rt, p[0]);
  std::optional<Value> best;
  Value best_key;
  for (Value item; it->Next(rt, &item);) {
    Value key = getter(rt, item);
    if (!case_sensitive) key = IgnoreCase(rt, key);
    if (!best.has_value() || (want_max ? Less(rt, best_key, key) : Less(rt, key, best_key))) {
      best = item;
      best_key = std::move(key);
    }
  }
  return best.has_value() ? *best : rt.UndefinedOf("no aggregated item, the sequence was empty");
}

}  // namespace

Value FilterSort(Runtime& rt, const Args& args) {
  const Params p("sort", args, {"value", "reverse", "case_sensitive", "attribute"}, 1);
  const bool case_sensitive = p.flag(2, false);
  std::vector<AttributeGetter> getters;
  if (p.has(3) && p[3].is_string()) {
    for (std::string_view path : SplitAt(p[3].text(), ",", -1, false)) {
      getters.emplace_back(rt, rt.Str(std::string(path)));
    }
  } else {
    getters.emplace_back(rt, p.get(3, Value::None()));
  }
  std::vector<Keyed> keyed;
  for (const Value& item : ToVector(rt, p[0])) {
    Keyed k{{}, item};
    for (const AttributeGetter& getter : getters) {
      Value key = getter(rt, item);
      k.keys.push_back(case_sensitive ? std::move(key) : IgnoreCase(rt, key));
    }
    keyed.push_back(std::move(k));
  }
  SortStable(&keyed, p.flag(1, false), [&rt](const Keyed& a, const Keyed& b) { return KeysLess(rt, a, b); });
  return ItemsOf(rt, std::move(keyed));
}

Value FilterDictSort(Runtime& rt, const Args& args) {
  const Params p("dictsort", args, {"value", "case_sensitive", "by", "reverse"}, 1);
  const std::string by = p.has(2) ? ToText(rt, p[2]) : "key";
  if (by != "key" && by != "value") Fail("you can only sort by either \"key\" or \"value\"");
  if (p[0].is_undefined()) FailUndefined(p[0]);
  if (!p[0].is_dict()) Fail("'" + std::string(TypeName(p[0])) + "' object has no attribute 'items'");
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : p[0].dict().items) {
    const Value& by_value = by == "key" ? key : value;
    keyed.push_back({{p.flag(1, false) ? by_value : IgnoreCase(rt, by_value)}, rt.Tuple({key, value})});
  }
  SortStable(&keyed, p.flag(3, false),
             [&rt](const Keyed& a, const Keyed& b) { return Less(rt, a.keys[0], b.keys[0]); });
  return ItemsOf(rt, std::move(keyed));
}

Value FilterGroupBy(Runtime& rt, const Args& args) {
  const Params p("groupby", args, {"value", "attribute", "default", "case_sensitive"}, 2);
  const bool case_sensitive = p.flag(3, false);
  const Value otherwise = p.get(2, Value::None());
  const AttributeGetter getter(rt, p[1]);
  std::vector<Keyed> keyed;
  for (const Value& item : ToVector(rt, p[0])) {
    const Value key = getter(rt, item, &otherwise);
    keyed.push_back({{case_sensitive ? key : IgnoreCase(rt, key)}, item});
  }
  SortStable(&keyed, false, [&rt](const Keyed& a, const Keyed& b) { return Less(rt, a.keys[0], b.keys[0]); });
  std::vector<Value> groups;
  for (size_t i = 0; i < keyed.size();) {
    std::vector<Value> items;
    const size_t first = i;
    for (; i < keyed.size() && Equals(rt, keyed[i].keys[0], keyed[first].keys[0]); ++i) items.push_back(keyed[i].item);
    if (items.empty()) items.push_back(keyed[i++].item);  // a key that is not equal to itself
    Value grouper = getter(rt, items[0], &otherwise);
    groups.push_back(rt.Group(std::move(grouper), rt.List(std::move(items))));
  }
  return rt.List(std::move(groups));
}

Value FilterMin(Runtime& rt, const Args& args) { return MinOrMax(rt, args, false); }
Value FilterMax(Runtime& rt, const Args& args) { return MinOrMax(rt, args, true); }

Value FilterSum(Runtime& rt, const Args& args) {
  const Params p("sum", args, {"iterable", "attribute", "start"}, 1);
  const AttributeGetter getter(rt, p.get(1, Value::None()));
  Value total = p.get(2, Value::Integer(0));
  if (total.is_string()) Fail("sum() can't sum strings");
  const auto it = Iterate(rt, p[0]);
  for (Value item; it->Next(rt, &item);) total = Binary(rt, Operator::kAdd, total, getter(rt, item));
  return total;
}

Value FilterUnique(Runtime& rt, const Args& args) {
  const Params p("unique", args, {"value", "case_sensitive", "attribute"}, 1);
  const bool case_sensitive = p.flag(1, false);
  const Value attribute = p.get(2, Value::None());
  auto next = [case_sensitive, attribute, value = p[0], source = std::shared_ptr<Iterator>(),
               seen = std::unordered_set<std::string>()](Runtime& r, Value* out) mutable {
    if (source == nullptr) source = Iterate(r, value);
    const AttributeGetter getter(r, attribute);
    while (source->Next(r, out)) {
      const Value key = getter(r, *out);
      if (seen.insert(HashKey(r, case_sensitive ? key : IgnoreCase(r, key))).second) return true;
    }
    return false;
  };
  return rt.New<GeneratorIterator>(std::max(p[0].depth(), attribute.depth()), "generator", std::move(next));
}

}  // namespace inkstone::jinja

// Filters that pick, map or regroup items. Where jinja2 yields lazily, so do these.
#include <algorithm>

#include "jinja/filters.h"
#include "jinja/objects.h"
#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

// A lazy sequence; `next` must not outlive the values that it holds, whose depth is at most `depth`.
Value Generate(Runtime& rt, int depth, GeneratorIterator::Step next) {
  return rt.New<GeneratorIterator>(depth, "generator", std::move(next));
}

int DepthOf(const Args& args) {
  int depth = 0;
  for (const Value& v : args.positional) depth = std::max(depth, v.depth());
  for (const auto& [name, v] : args.named) depth = std::max(depth, v.depth());
  return depth;
}

// Starts iterating when the first item is asked for: errors come then, as in a Python generator.
class LazySource {
 public:
  explicit LazySource(Value value) : value_(std::move(value)) {}
  bool Next(Runtime& rt, Value* out) {
    if (iterator_ == nullptr) iterator_ = Iterate(rt, value_);
    return iterator_->Next(rt, out);
  }

 private:
  Value value_;
  std::shared_ptr<Iterator> iterator_;
};

const Value& Subject(const Args& args, const char* filter) {
  if (args.positional.empty()) Fail(std::string(filter) + ": expected a value");
  return args.positional[0];
}

Function NamedFunction(const Value& name, bool filter) {
  if (name.is_undefined()) FailUndefined(name);
  const Function function = !name.is_string() ? nullptr : filter ? FindFilter(name.text()) : FindTest(name.text());
  if (function == nullptr) {
    Fail(std::string("no ") + (filter ? "filter" : "test") + " is named " +
         (name.is_string() ? "'" + name.text() + "'" : std::string(TypeName(name))));
  }
  return function;
}

// The arguments from `begin` on, behind a place for the item.
Args Rest(const Args& args, size_t begin) {
  Args rest;
  rest.positional.emplace_back();
  for (size_t i = begin; i < args.positional.size(); ++i) rest.positional.push_back(args.positional[i]);
  rest.named = args.named;
  return rest;
}

Value SelectOrReject(Runtime& rt, const Args& args, const char* filter, bool keep, bool by_attribute) {
  const Value& subject = Subject(args, filter);
  auto next = [args, filter, keep, by_attribute, source = LazySource(subject), falsy = !Truthy(subject)](
                  Runtime& r, Value* out) mutable {
    if (falsy) return false;
    const size_t at = by_attribute ? 2 : 1;
    if (args.positional.size() < at) Fail(std::string(filter) + ": expected the name of an attribute");
    const AttributeGetter getter(r, by_attribute ? args.positional[1] : Value::None());
    const bool has_test = args.positional.size() > at;
    Args rest = Rest(args, at + 1);
    while (source.Next(r, out)) {
      Value tested = getter(r, *out);
      bool passes = false;
      if (has_test) {
        rest.positional[0] = std::move(tested);
        passes = Truthy(NamedFunction(args.positional[at], false)(r, rest));
      } else {
        passes = Truthy(tested);
      }
      if (passes == keep) return true;
    }
    return false;
  };
  return Generate(rt, DepthOf(args), std::move(next));
}

Value MapAttribute(Runtime& rt, const Args& args) {
  Value path;
  Value otherwise = Value::None();
  for (const auto& [name, value] : args.named) {
    if (name == "attribute") {
      path = value;
    } else if (name == "default") {
      otherwise = value;
    } else {
      Fail("map: unexpected keyword argument '" + name + "'");
    }
  }
  auto next = [path, otherwise, source = LazySource(args.positional[0]), falsy = !Truthy(args.positional[0])](
                  Runtime& r, Value* out) mutable {
    Value item;
    if (falsy || !source.Next(r, &item)) return false;
    *out = AttributeGetter(r, path)(r, item, &otherwise);
    return true;
  };
  return Generate(rt, DepthOf(args), std::move(next));
}

}  // namespace

AttributeGetter::AttributeGetter(Runtime& rt, const Value& path) {
  if (path.is_none()) return;
  if (!path.is_string()) {
    parts_.push_back(path);
    return;
  }
  for (std::string_view part : SplitAt(path.text(), ".", -1, false)) {
    const bool digits = !part.empty() && part.find_first_not_of("0123456789") == part.npos && part.size() < 18;
    parts_.push_back(digits ? Value::Integer(std::stoll(std::string(part))) : rt.Str(std::string(part)));
  }
}

Value AttributeGetter::operator()(Runtime& rt, const Value& item, const Value* otherwise) const {
  Value value = item;
  for (const Value& part : parts_) {
    value = GetItem(rt, value, part);
    if (otherwise != nullptr && !otherwise->is_none() && value.is_undefined()) value = *otherwise;
  }
  return value;
}

Value FilterLength(Runtime&, const Args& args) {
  const Params p("length", args, {""}, 1);
  const auto length = LengthOf(p[0]);
  if (!length.has_value()) Fail("object of type '" + std::string(TypeName(p[0])) + "' has no len()");
  return Value::Integer(*length);
}

Value FilterDefault(Runtime& rt, const Args& args) {
  const Params p("default", args, {"value", "default_value", "boolean"}, 1);
  if (p[0].is_undefined() || (p.flag(2, false) && !Truthy(p[0]))) return p.has(1) ? p[1] : rt.Str("");
  return p[0];
}

Value FilterItems(Runtime& rt, const Args& args) {
  const Params p("items", args, {"value"}, 1);
  auto next = [value = p[0], i = size_t{0}](Runtime& r, Value* out) mutable {
    if (value.is_undefined()) return false;
    if (!value.is_dict()) Fail("can only get item pairs from a mapping");
    const auto& items = value.dict().items;
    if (i >= items.size()) return false;
    *out = r.Tuple({items[i].first, items[i].second});
    ++i;
    return true;
  };
  return Generate(rt, p[0].depth(), std::move(next));
}

Value FilterList(Runtime& rt, const Args& args) {
  const Params p("list", args, {"value"}, 1);
  return rt.List(ToVector(rt, p[0]));
}

Value FilterFirst(Runtime& rt, const Args& args) {
  const Params p("first", args, {"seq"}, 1);
  Value item;
  return Iterate(rt, p[0])->Next(rt, &item) ? item : rt.UndefinedOf("no first item, the sequence was empty");
}

namespace {

// Python's reversed(value), as a list.
std::optional<std::vector<Value>> Reversed(Runtime& rt, const Value& v) {
  const bool reversible = !v.is_none() && !v.is_number() && (!v.is_object() || v.object().Length().has_value());
  if (!reversible) return std::nullopt;
  std::vector<Value> items = ToVector(rt, v);
  std::reverse(items.begin(), items.end());
  return items;
}

}  // namespace

Value FilterLast(Runtime& rt, const Args& args) {
  const Params p("last", args, {"seq"}, 1);
  if (p[0].is_sequence() && !p[0].items().empty()) return p[0].items().back();
  const auto items = Reversed(rt, p[0]);
  if (!items.has_value()) Fail("'" + std::string(TypeName(p[0])) + "' object is not reversible");
  return items->empty() ? rt.UndefinedOf("no last item, the sequence was empty") : items->front();
}

Value FilterReverse(Runtime& rt, const Args& args) {
  const Params p("reverse", args, {"value"}, 1);
  if (p[0].is_string()) {
    return GetSlice(rt, p[0], {Value::None(), Value::None(), Value::Integer(-1)});
  }
  if (p[0].is_list()) return rt.New<ItemIterator>(p[0].depth(), p[0], true);
  if (auto items = Reversed(rt, p[0])) {
    const Value list = rt.List(*std::move(items));
    return rt.New<ItemIterator>(list.depth(), list, false);
  }
  std::vector<Value> items = ToVector(rt, p[0]);
  std::reverse(items.begin(), items.end());
  return rt.List(std::move(items));
}

Value FilterJoin(Runtime& rt, const Args& args) {
  const Params p("join", args, {"value", "d", "attribute"}, 1);
  const std::string separator = p.has(1) ? ToText(rt, p[1]) : "";
  const AttributeGetter getter(rt, p.get(2, Value::None()));
  const auto it = Iterate(rt, p[0]);
  std::string out;
  bool first = true;
  for (Value item; it->Next(rt, &item); first = false) {
    if (!first) out += separator;
    out += ToText(rt, getter(rt, item));
    rt.Reserve(out.size());
  }
  return rt.Str(std::move(out));
}

Value FilterAttr(Runtime& rt, const Args& args) {
  const Params p("attr", args, {"obj", "name"}, 2);
  const std::string name = ToText(rt, p[1]);
  if (!p[0].is_dict()) return GetAttribute(rt, p[0], name);
  // Only attributes: no items.
  if (FindDictMethod(name) != nullptr) return GetAttribute(rt, p[0], name);
  return rt.UndefinedOf("'dict object' has no attribute '" + name + "'");
}

Value FilterMap(Runtime& rt, const Args& args) {
  const Value& subject = Subject(args, "map");
  const bool has_attribute =
      std::any_of(args.named.begin(), args.named.end(), [](const auto& named) { return named.first == "attribute"; });
  if (args.positional.size() == 1 && has_attribute) return MapAttribute(rt, args);
  auto next = [args, source = LazySource(subject), falsy = !Truthy(subject)](Runtime& r, Value* out) mutable {
    if (falsy) return false;
    if (args.positional.size() < 2) Fail("map requires a filter argument");
    Args rest = Rest(args, 2);
    if (!source.Next(r, &rest.positional[0])) return false;
    const Runtime::Nested nested(r);
    *out = NamedFunction(args.positional[1], true)(r, rest);
    return true;
  };
  return Generate(rt, DepthOf(args), std::move(next));
}

Value FilterSelect(Runtime& rt, const Args& args) { return SelectOrReject(rt, args, "select", true, false); }
Value FilterReject(Runtime& rt, const Args& args) { return SelectOrReject(rt, args, "reject", false, false); }
Value FilterSelectAttr(Runtime& rt, const Args& args) { return SelectOrReject(rt, args, "selectattr", true, true); }
Value FilterRejectAttr(Runtime& rt, const Args& args) { return SelectOrReject(rt, args, "rejectattr", false, true); }

Value FilterBatch(Runtime& rt, const Args& args) {
  const Params p("batch", args, {"value", "linecount", "fill_with"}, 2);
  const int64_t count = p.integer(1, 0);
  auto next = [count, fill = p.get(2, Value::None()), source = LazySource(p[0]), held = std::optional<Value>()](
                  Runtime& r, Value* out) mutable {
    std::vector<Value> row;
    if (held.has_value()) row.push_back(*std::exchange(held, std::nullopt));
    for (Value item; source.Next(r, &item);) {
      if (static_cast<int64_t>(row.size()) == count) {
        held = std::move(item);
        break;
      }
      r.Reserve(row.size() * 2 * sizeof(Value));
      row.push_back(std::move(item));
    }
    if (row.empty() && !held.has_value()) return false;
    if (!held.has_value() && !fill.is_none()) {
      r.Reserve(static_cast<size_t>(std::max<int64_t>(0, count)) * sizeof(Value));
      while (static_cast<int64_t>(row.size()) < count) row.push_back(fill);
    }
    *out = r.List(std::move(row));
    return true;
  };
  return Generate(rt, DepthOf(args), std::move(next));
}

Value FilterSlice(Runtime& rt, const Args& args) {
  const Params p("slice", args, {"value", "slices", "fill_with"}, 2);
  const int64_t slices = p.integer(1, 0);
  if (slices == 0) Fail("integer division or modulo by zero");
  const Value all = rt.List(ToVector(rt, p[0]));
  auto next = [slices, all, fill = p.get(2, Value::None()), k = int64_t{0}](Runtime& r, Value* out) mutable {
    if (k >= slices) return false;
    const auto size = static_cast<int64_t>(all.items().size());
    const int64_t extra = size % slices;
    const int64_t begin = k * (size / slices) + std::min(k, extra);
    const int64_t end = begin + size / slices + (k < extra ? 1 : 0);
    std::vector<Value> part(all.items().begin() + begin, all.items().begin() + end);
    if (!fill.is_none() && k >= extra) part.push_back(fill);
    ++k;
    *out = r.List(std::move(part));
    return true;
  };
  return Generate(rt, std::max(all.depth(), DepthOf(args)), std::move(next));
}

Function FindFilter(std::string_view name) {
  static constexpr std::pair<std::string_view, Function> kFilters[] = {
      {"abs", FilterAbs},
      {"attr", FilterAttr},
      {"batch", FilterBatch},
      {"capitalize", FilterCapitalize},
      {"center", FilterCenter},
      {"count", FilterLength},
      {"d", FilterDefault},
      {"default", FilterDefault},
      {"dictsort", FilterDictSort},
      {"e", FilterEscape},
      {"escape", FilterEscape},
      {"first", FilterFirst},
      {"float", FilterFloat},
      {"forceescape", FilterForceEscape},
      {"format", FilterFormat},
      {"groupby", FilterGroupBy},
      {"indent", FilterIndent},
      {"int", FilterInt},
      {"items", FilterItems},
      {"join", FilterJoin},
      {"last", FilterLast},
      {"length", FilterLength},
      {"list", FilterList},
      {"lower", FilterLower},
      {"map", FilterMap},
      {"max", FilterMax},
      {"min", FilterMin},
      {"reject", FilterReject},
      {"rejectattr", FilterRejectAttr},
      {"replace", FilterReplace},
      {"reverse", FilterReverse},
      {"round", FilterRound},
      {"safe", FilterSafe},
      {"select", FilterSelect},
      {"selectattr", FilterSelectAttr},
      {"slice", FilterSlice},
      {"sort", FilterSort},
      {"string", FilterString},
      {"sum", FilterSum},
      {"title", FilterTitle},
      {"tojson", FilterToJson},
      {"trim", FilterTrim},
      {"truncate", FilterTruncate},
      {"unique", FilterUnique},
      {"upper", FilterUpper},
      {"urlencode", FilterUrlEncode},
      {"wordcount", FilterWordCount},
  };
  for (const auto& [key, function] : kFilters) {
    if (key == name) return function;
  }
  return nullptr;
}

}  // namespace inkstone::jinja

#include "jinja/json.h"

#include <algorithm>
#include <boost/json/value.hpp>
#include <cmath>
#include <cstdio>

#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

constexpr int kMaxInputDepth = 100;

void SetDepth(Heap* heap, int depth) {
  if (depth > kMaxInputDepth) Fail("the variables nest deeper than " + std::to_string(kMaxInputDepth) + " levels");
  heap->depth = depth;
}

class Writer {
 public:
  Writer(Runtime& rt, const JsonStyle& style) : rt_(rt), style_(style) {}

  void Write(const Value& v) {
    const Runtime::Nested nested(rt_);
    rt_.Step();
    rt_.Reserve(out_.size());
    switch (v.type()) {
      case Type::kNone:
        out_ += "null";
        return;
      case Type::kBool:
        out_ += v.boolean() ? "true" : "false";
        return;
      case Type::kInt:
        out_ += IntText(v.integer());
        return;
      case Type::kFloat:
        out_ += Number(v.number());
        return;
      case Type::kString:
        WriteText(v.text());
        return;
      case Type::kList:
      case Type::kTuple:
        WriteList(v.items());
        return;
      case Type::kDict:
        WriteDict(v);
        return;
      default:
        Fail("Object of type " + std::string(TypeName(v)) + " is not JSON serializable");
    }
  }

  std::string Take() { return std::move(out_); }

 private:
  static std::string Number(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d < 0 ? "-Infinity" : "Infinity";
    return FloatText(d);
  }

  void NewLine() {
    if (!style_.multi_line) return;
    rt_.Reserve(style_.indent.size() * static_cast<size_t>(level_));
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += style_.indent;
  }

  void WriteList(const std::vector<Value>& items) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine();
      Write(items[i]);
    }
    --level_;
    NewLine();
    out_ += ']';
  }

  static std::string Key(const Value& key) {
    switch (key.type()) {
      case Type::kString:
        return key.text();
      case Type::kNone:
        return "null";
      case Type::kBool:
        return key.boolean() ? "true" : "false";
      case Type::kInt:
        return IntText(key.integer());
      case Type::kFloat:
        return Number(key.number());
      default:
        Fail("keys must be str, int, float, bool or None, not " + std::string(TypeName(key)));
    }
  }

  void WriteDict(const Value& v) {
    std::vector<const Dict::Item*> items;
    for (const Dict::Item& item : v.dict().items) items.push_back(&item);
    if (items.empty()) {
      out_ += "{}";
      return;
    }
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [this](const auto* a, const auto* b) { return Less(rt_, a->first, b->first); });
    }
    out_ += '{';
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine();
      WriteText(Key(items[i]->first));
      out_ += style_.key_separator;
      Write(items[i]->second);
    }
    --level_;
    NewLine();
    out_ += '}';
  }

  void WriteUnit(int32_t unit) {
    char buffer[16];
    std::snprintf(buffer, sizeof(buffer), "\\u%04x", static_cast<unsigned>(unit));
    out_ += buffer;
  }

  void WriteText(std::string_view s) {
    rt_.Work(s.size() * 8);
    rt_.Reserve(s.size());
    out_ += '"';
    for (size_t i = 0, n; i < s.size(); i += n) {
      n = CodePointBytes(s, i);
      const int32_t c = CodePointAt(s, i);
      static constexpr std::string_view kFrom = "\"\\\n\r\t\b\f";
      static constexpr std::string_view kTo = "\"\\nrtbf";
      const size_t k = c < 0x80 ? kFrom.find(static_cast<char>(c)) : kFrom.npos;
      if (k != kFrom.npos) {
        out_ += '\\';
        out_ += kTo[k];
      } else if (c < 0x20 || (style_.ensure_ascii && c > 0x7E && c < 0x10000)) {
        WriteUnit(c);
      } else if (style_.ensure_ascii && c >= 0x10000) {
        WriteUnit(0xD800 + ((c - 0x10000) >> 10));
        WriteUnit(0xDC00 + ((c - 0x10000) & 0x3FF));
      } else {
        out_ += s.substr(i, n);
      }
    }
    out_ += '"';
  }

  Runtime& rt_;
  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
};

}  // namespace

Value InputText(std::string_view text) {
  return Value(Type::kString, std::make_shared<String>(std::string(text), false));
}

Value InputList(std::vector<Value> items) {
  auto heap = std::make_shared<Sequence>(std::move(items), false);
  int depth = 0;
  for (const Value& item : heap->items) depth = std::max(depth, item.depth());
  SetDepth(heap.get(), depth + 1);
  return Value(Type::kList, std::move(heap));
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): its values are moved out, which the check does not see
Value InputDict(std::vector<std::pair<std::string_view, Value>> items) {
  auto heap = std::make_shared<Dict>();
  int depth = 0;
  heap->items.reserve(items.size());
  for (auto& [key, value] : items) {
    depth = std::max(depth, value.depth());
    if (items.size() > 8) heap->index.try_emplace("s" + std::string(key), heap->items.size());
    heap->items.emplace_back(InputText(key), std::move(value));
  }
  SetDepth(heap.get(), depth + 1);
  return Value(Type::kDict, std::move(heap));
}

Value FromJson(const boost::json::value& json, const TextMark& mark) {
  switch (json.kind()) {
    case boost::json::kind::null:
      return Value::None();
    case boost::json::kind::bool_:
      return Value::Bool(json.get_bool());
    case boost::json::kind::int64:
      return Value::Integer(json.get_int64());
    case boost::json::kind::uint64:
      return Value::Integer(static_cast<Int>(json.get_uint64()));
    case boost::json::kind::double_:
      return Value::Float(json.get_double());
    case boost::json::kind::string:
      return InputText(mark ? mark(json.get_string(), TextSlot::kText) : std::string(json.get_string()));
    case boost::json::kind::array: {
      std::vector<Value> items;
      for (const boost::json::value& item : json.get_array()) items.push_back(FromJson(item, mark));
      return InputList(std::move(items));
    }
    case boost::json::kind::object: {
      std::vector<std::pair<std::string, Value>> items;
      for (const auto& item : json.get_object()) {
        items.emplace_back(mark ? mark(item.key(), TextSlot::kName) : std::string(item.key()),
                           FromJson(item.value(), mark));
      }
      return InputDict({items.begin(), items.end()});
    }
  }
  return Value::None();
}

std::string ToJson(Runtime& rt, const Value& v, const JsonStyle& style) {
  Writer writer(rt, style);
  writer.Write(v);
  return writer.Take();
}

}  // namespace inkstone::jinja

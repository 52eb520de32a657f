#include "jinja/objects.h"

#include <algorithm>

#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

constexpr size_t kMaxNamespaceAttributes = 1000;

size_t ItemCount(const Value& v) {
  if (v.is_string()) return v.text().size();
  return v.is_dict() ? v.dict().items.size() : v.items().size();
}

}  // namespace

ItemIterator::ItemIterator(Value source, bool reversed) : source_(std::move(source)), reversed_(reversed) {}

bool ItemIterator::Next(Runtime& rt, Value* out) {
  rt.Step();
  const size_t count = ItemCount(source_);
  if (pos_ >= count) return false;
  if (source_.is_string()) {  // never reversed
    const size_t n = CodePointBytes(source_.text(), pos_);
    *out = rt.Str(source_.text().substr(pos_, n), source_.string().markup);
    pos_ += n;
    return true;
  }
  const size_t i = reversed_ ? count - 1 - pos_ : pos_;
  *out = source_.is_dict() ? source_.dict().items[i].first : source_.items()[i];
  ++pos_;
  return true;
}

std::string Range::Repr(Runtime&) {
  std::string out = "range(" + IntText(start_) + ", " + IntText(stop_);
  if (step_ != 1) out += ", " + IntText(step_);
  return out + ")";
}

std::shared_ptr<Iterator> Range::Iterate(Runtime& rt, const Value& self) {
  auto next = [self, i = int64_t{0}](Runtime&, Value* out) mutable {
    const auto& range = static_cast<const Range&>(self.object());
    if (i >= range.count_) return false;
    *out = range.At(i++);
    return true;
  };
  return rt.New<GeneratorIterator>(self.depth(), "range_iterator", std::move(next)).As<Iterator>();
}

std::optional<Value> Range::Item(Runtime&, const Value& key) {
  if (!key.is_integral()) return std::nullopt;
  Int i = key.integer();
  if (i < 0) i += count_;
  if (i < 0 || i >= count_) return std::nullopt;
  return At(static_cast<int64_t>(i));
}

std::string_view DictView::type_name() const {
  return kind_ == Kind::kKeys ? "dict_keys" : kind_ == Kind::kValues ? "dict_values" : "dict_items";
}

Value DictView::At(Runtime& rt, size_t i) const {
  const Dict::Item& item = dict_.dict().items[i];
  if (kind_ == Kind::kKeys) return item.first;
  if (kind_ == Kind::kValues) return item.second;
  return rt.Tuple({item.first, item.second});
}

std::string DictView::Repr(Runtime& rt) {
  std::vector<Value> items;
  for (size_t i = 0; i < dict_.dict().items.size(); ++i) items.push_back(At(rt, i));
  return std::string(type_name()) + "(" + jinja::Repr(rt, rt.List(std::move(items))) + ")";
}

std::shared_ptr<Iterator> DictView::Iterate(Runtime& rt, const Value& self) {
  auto next = [self, i = size_t{0}](Runtime& r, Value* out) mutable {
    const auto& view = static_cast<const DictView&>(self.object());
    if (i >= view.dict_.dict().items.size()) return false;
    *out = view.At(r, i++);
    return true;
  };
  return rt.New<GeneratorIterator>(self.depth(), "dict_iterator", std::move(next)).As<Iterator>();
}

bool DictView::Contains(Runtime& rt, const Value& self, const Value& item) {
  if (kind_ == Kind::kKeys) return Find(rt, dict_.dict(), item) != nullptr;
  return Object::Contains(rt, self, item);
}

std::string Namespace::Repr(Runtime& rt) {
  std::vector<Dict::Item> items;
  items.reserve(attributes_.size());
  for (const auto& [name, value] : attributes_) {
    items.emplace_back(rt.Str(name), value);
  }
  return "<Namespace " + jinja::Repr(rt, rt.MakeDict(std::move(items))) + ">";
}

std::optional<Value> Namespace::Attribute(Runtime& rt, const Value&, std::string_view name) {
  rt.Work(attributes_.size() * 32);
  for (const auto& [key, value] : attributes_) {
    if (key == name) return value;
  }
  return std::nullopt;
}

void Namespace::Set(Runtime& rt, const std::string& name, Value value) {
  rt.Work(attributes_.size() * 32);
  if (name.starts_with('_')) Fail("a namespace can't store the underscore-prefixed attribute '" + name + "'");
  for (auto& [key, old] : attributes_) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  if (attributes_.size() >= kMaxNamespaceAttributes) Fail("a namespace has too many attributes");
  const size_t added = sizeof(attributes_[0]) + name.capacity();
  rt.AddPending(added);
  bytes += static_cast<int64_t>(added);
  attributes_.emplace_back(name, std::move(value));
}

Value BoundMethod::Call(Runtime& rt, const Args& args) {
  Args all;
  all.positional.reserve(args.positional.size() + 1);
  all.positional.push_back(self_);
  all.positional.insert(all.positional.end(), args.positional.begin(), args.positional.end());
  all.named = args.named;
  return function_(rt, all);
}

SliceIndices Resolve(const SliceBounds& bounds, int64_t length) {
  const auto index = [](const Value& v, int64_t otherwise) {
    if (v.is_none()) return otherwise;
    if (v.is_undefined()) FailUndefined(v);
    if (!v.is_integral()) Fail("slice indices must be integers or None or have an __index__ method");
    return std::max<int64_t>(ToInt64(v.integer()), INT64_MIN + 1);
  };
  SliceIndices r;
  r.step = index(bounds.step, 1);
  if (r.step == 0) Fail("slice step cannot be zero");
  const bool forward = r.step > 0;
  const int64_t lowest = forward ? 0 : -1;
  const int64_t highest = forward ? length : length - 1;
  const auto clamp = [&](int64_t i) {
    if (i < 0) i += length;
    return std::clamp(i, lowest, highest);
  };
  r.start = bounds.start.is_none() ? (forward ? lowest : highest) : clamp(index(bounds.start, 0));
  r.stop = bounds.stop.is_none() ? (forward ? highest : lowest) : clamp(index(bounds.stop, 0));
  const int64_t span = forward ? r.stop - r.start : r.start - r.stop;
  const int64_t stride = forward ? r.step : -r.step;
  r.count = span > 0 ? (span - 1) / stride + 1 : 0;
  return r;
}

}  // namespace inkstone::jinja

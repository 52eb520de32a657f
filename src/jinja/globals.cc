// Global functions: range, dict, namespace, cycler, joiner, raise_exception, strftime_now.
#include <ctime>

#include "jinja/objects.h"

namespace inkstone::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // jinja2's sandbox
constexpr size_t kMaxTimeText = 1000;

Value MakeRange(Runtime& rt, const Args& args) {
  const Params p("range", args, {"", "", ""}, 1);
  int64_t start = 0;
  int64_t stop = p.integer(0, 0);
  if (p.has(1)) {
    start = stop;
    stop = p.integer(1, 0);
  }
  const int64_t step = p.integer(2, 1);
  if (step == 0) Fail("range() arg 3 must not be zero");
  const Int span = step > 0 ? Int{stop} - start : Int{start} - stop;
  const Int stride = step > 0 ? Int{step} : -Int{step};
  const Int count = span > 0 ? (span - 1) / stride + 1 : 0;
  if (count > kMaxRange) Fail("range too big: more than " + std::to_string(kMaxRange) + " items");
  return rt.New<Range>(0, start, stop, step, static_cast<int64_t>(count));
}

// Items of dict(...): a mapping or pairs, then keywords.
std::vector<Dict::Item> DictItems(Runtime& rt, const Args& args, std::string_view function) {
  if (args.positional.size() > 1) Fail(std::string(function) + " expected at most 1 argument");
  std::vector<Dict::Item> items;
  if (!args.positional.empty()) {
    const Value& source = args.positional[0];
    if (source.is_undefined()) FailUndefined(source);
    if (source.is_dict()) {
      items = source.dict().items;
    } else {
      for (const Value& pair : ToVector(rt, source)) {
        const std::vector<Value> parts = ToVector(rt, pair);
        if (parts.size() != 2) Fail("dictionary update sequence element has length other than 2");
        items.emplace_back(parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named) items.emplace_back(rt.Str(name), value);
  return items;
}

Value CallDict(Runtime& rt, const Args& args) { return rt.MakeDict(DictItems(rt, args, "dict")); }

Value CallNamespace(Runtime& rt, const Args& args) {
  Value result = rt.MakeNamespace();
  const Value dict = rt.MakeDict(DictItems(rt, args, "namespace"));
  for (const auto& [key, value] : dict.dict().items) {
    if (key.is_string()) result.As<Namespace>()->Set(rt, key.text(), value);
  }
  return result;
}

class Cycler : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string_view type_name() const override { return "Cycler"; }
  std::optional<Value> Attribute(Runtime& rt, const Value& self, std::string_view name) override {
    if (name == "current") return items_[pos_];
    if (name == "next") return rt.New<BoundMethod>(self.depth(), self, "next", &Cycler::Next);
    if (name == "reset") return rt.New<BoundMethod>(self.depth(), self, "reset", &Cycler::Reset);
    return std::nullopt;
  }

 private:
  static Value Next(Runtime&, const Args& args) {
    const Params p("next", args, {"self"}, 1);
    const auto cycler = p[0].As<Cycler>();
    Value value = cycler->items_[cycler->pos_];
    cycler->pos_ = (cycler->pos_ + 1) % cycler->items_.size();
    return value;
  }
  static Value Reset(Runtime&, const Args& args) {
    const Params p("reset", args, {"self"}, 1);
    p[0].As<Cycler>()->pos_ = 0;
    return Value::None();
  }

  std::vector<Value> items_;
  size_t pos_ = 0;
};

Value MakeCycler(Runtime& rt, const Args& args) {
  if (!args.named.empty()) Fail("cycler() takes no keyword arguments");
  if (args.positional.empty()) Fail("at least one item has to be provided");
  int depth = 0;
  for (const Value& v : args.positional) depth = std::max(depth, v.depth());
  return rt.New<Cycler>(depth, args.positional);
}

class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string_view type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value Call(Runtime& rt, const Args& args) override {
    const Params p("joiner", args, {}, 0);
    if (used_) return separator_;
    used_ = true;
    return rt.Str("");
  }

 private:
  Value separator_;
  bool used_ = false;
};

Value MakeJoiner(Runtime& rt, const Args& args) {
  const Params p("joiner", args, {"sep"}, 0);
  const Value separator = p.has(0) ? p[0] : rt.Str(", ");
  return rt.New<Joiner>(separator.depth(), separator);
}

Value RaiseException(Runtime& rt, const Args& args) {
  const Params p("raise_exception", args, {"message"}, 1);
  throw Error{StatusCode::kInvalidArgument, ToText(rt, p[0])};
}

Value StrftimeNow(Runtime& rt, const Args& args) {
  const Params p("strftime_now", args, {"format"}, 1);
  const std::string& format = p.text(0, "argument 1");
  if (format.size() > kMaxTimeText) Fail("strftime_now(): the format is too long");
  const auto now = static_cast<time_t>(rt.now());
  std::tm local{};
  if (localtime_r(&now, &local) == nullptr) Fail("strftime_now(): the time is out of range");
  std::string text(kMaxTimeText * 8, '\0');
  // A leading blank tells an empty result from a failure.
  const size_t n = std::strftime(text.data(), text.size(), (" " + format).c_str(), &local);
  if (n == 0) Fail("strftime_now(): the result is too long");
  return rt.Str(text.substr(1, n - 1));
}

}  // namespace

Function FindGlobal(std::string_view name) {
  static constexpr std::pair<std::string_view, Function> kGlobals[] = {
      {"range", MakeRange},         {"dict", CallDict},     {"namespace", CallNamespace},
      {"cycler", MakeCycler},       {"joiner", MakeJoiner}, {"raise_exception", RaiseException},
      {"strftime_now", StrftimeNow}};
  for (const auto& [key, function] : kGlobals) {
    if (key == name) return function;
  }
  return nullptr;
}

}  // namespace inkstone::jinja

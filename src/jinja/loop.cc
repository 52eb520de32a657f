#include "jinja/loop.h"

#include "jinja/objects.h"

namespace inkstone::jinja {

Loop::Loop(Runtime& rt, const Value& iterable, int level, Recurse recurse)
    : iterable_(iterable), iterator_(jinja::Iterate(rt, iterable)), level_(level), recurse_(std::move(recurse)) {}

bool Loop::Advance(Runtime& rt, Value* item) {
  if (after_.has_value()) {
    *item = *std::move(after_);
    after_.reset();
  } else if (!iterator_->Next(rt, item)) {
    return false;
  }
  ++index0_;
  before_ = std::move(current_);
  current_ = *item;
  return true;
}

const std::optional<Value>& Loop::Peek(Runtime& rt) {
  if (!after_.has_value()) {
    Value next;
    if (iterator_->Next(rt, &next)) after_ = std::move(next);
  }
  return after_;
}

// Items without a length are read to their end.
int64_t Loop::ItemCount(Runtime& rt) {
  if (count_.has_value()) return *count_;
  count_ = LengthOf(iterable_);
  if (!count_.has_value()) {
    std::vector<Value> rest;
    for (Value v; iterator_->Next(rt, &v);) {
      if (rest.size() % 256 == 0) rt.Reserve(rest.size() * 2 * sizeof(Value));
      rest.push_back(std::move(v));
    }
    count_ = static_cast<int64_t>(rest.size()) + index0_ + 1 + (after_.has_value() ? 1 : 0);
    iterator_ = jinja::Iterate(rt, rt.List(std::move(rest)));
  }
  return *count_;
}

std::string Loop::Repr(Runtime& rt) {
  return "<LoopContext " + std::to_string(index0_ + 1) + "/" + std::to_string(ItemCount(rt)) + ">";
}

std::optional<Value> Loop::Attribute(Runtime& rt, const Value& self, std::string_view name) {
  if (name == "index") return Value::Integer(index0_ + 1);
  if (name == "index0") return Value::Integer(index0_);
  if (name == "first") return Value::Bool(index0_ == 0);
  if (name == "last") return Value::Bool(!Peek(rt).has_value());
  if (name == "length") return Value::Integer(ItemCount(rt));
  if (name == "revindex") return Value::Integer(ItemCount(rt) - index0_);
  if (name == "revindex0") return Value::Integer(ItemCount(rt) - index0_ - 1);
  if (name == "depth") return Value::Integer(level_ + 1);
  if (name == "depth0") return Value::Integer(level_);
  if (name == "previtem") return index0_ > 0 ? *before_ : rt.UndefinedOf("there is no previous item");
  if (name == "nextitem") {
    const auto& next = Peek(rt);
    return next.has_value() ? *next : rt.UndefinedOf("there is no next item");
  }
  if (name == "cycle") return rt.New<BoundMethod>(self.depth(), self, "cycle", &Loop::Cycle);
  if (name == "changed") return rt.New<BoundMethod>(self.depth(), self, "changed", &Loop::Changed);
  return std::nullopt;
}

Value Loop::Cycle(Runtime&, const Args& args) {
  if (!args.named.empty()) Fail("cycle() takes no keyword arguments");
  const auto count = static_cast<int64_t>(args.positional.size()) - 1;
  if (count == 0) Fail("no items for cycling given");
  const auto loop = args.positional[0].As<Loop>();
  return args.positional[static_cast<size_t>(loop->index0_ % count) + 1];
}

Value Loop::Changed(Runtime& rt, const Args& args) {
  if (!args.named.empty()) Fail("changed() takes no keyword arguments");
  const auto loop = args.positional[0].As<Loop>();
  const std::string now = jinja::Repr(rt, rt.Tuple({args.positional.begin() + 1, args.positional.end()}));
  if (loop->last_changed_ == now) return Value::Bool(false);
  loop->last_changed_ = now;
  return Value::Bool(true);
}

Value Loop::Call(Runtime& rt, const Args& args) {
  const Params p("loop", args, {"iterable"}, 1);
  if (!recurse_) Fail("the loop must have the 'recursive' marker to be called");
  const Runtime::Nested nested(rt);
  return recurse_(p[0], level_ + 1);
}

}  // namespace inkstone::jinja

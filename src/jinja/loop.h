// The variable `loop` of a for statement.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "jinja/runtime.h"

namespace inkstone::jinja {

class Loop : public Object {
 public:
  // Renders the body for nested items; empty unless the loop is recursive.
  using Recurse = std::function<Value(const Value& iterable, int level)>;
  Loop(Runtime& rt, const Value& iterable, int level, Recurse recurse);

  // The next item; false at the end.
  bool Advance(Runtime& rt, Value* item);

  std::string_view type_name() const override { return "LoopContext"; }
  std::string Repr(Runtime& rt) override;
  bool callable() const override { return true; }
  std::optional<Value> Attribute(Runtime& rt, const Value& self, std::string_view name) override;
  Value Call(Runtime& rt, const Args& args) override;

 private:
  int64_t ItemCount(Runtime& rt);
  const std::optional<Value>& Peek(Runtime& rt);
  static Value Cycle(Runtime& rt, const Args& args);
  static Value Changed(Runtime& rt, const Args& args);

  Value iterable_;
  std::shared_ptr<Iterator> iterator_;
  int level_;  // 0 for the outermost loop
  Recurse recurse_;
  int64_t index0_ = -1;
  std::optional<int64_t> count_;
  std::optional<Value> before_, current_, after_;
  std::optional<std::string> last_changed_;  // as text, so that the loop can't come to hold itself
};

}  // namespace inkstone::jinja

#include "jinja/interpreter.h"

#include <algorithm>

#include "jinja/loop.h"
#include "jinja/objects.h"

namespace inkstone::jinja {
namespace {

class Macro : public Object {
 public:
  Macro(Interpreter* interpreter, const Stmt* stmt, std::string name, Scope* scope)
      : interpreter_(interpreter), stmt_(stmt), name_(std::move(name)), scope_(scope) {}
  std::string_view type_name() const override { return "Macro"; }
  std::string Repr(Runtime&) override { return "<Macro '" + name_ + "'>"; }
  bool callable() const override { return true; }
  Value Call(Runtime&, const Args& args) override { return interpreter_->CallMacro(*stmt_, name_, *scope_, args); }
  std::optional<Value> Attribute(Runtime& rt, const Value&, std::string_view name) override {
    if (name == "name") return rt.Str(name_);
    if (name != "arguments") return std::nullopt;
    std::vector<Value> names;
    for (const Parameter& p : stmt_->signature.parameters) names.push_back(rt.Str(p.name));
    return rt.Tuple(std::move(names));
  }

 private:
  Interpreter* interpreter_;
  const Stmt* stmt_;
  std::string name_;
  Scope* scope_;  // kept by the interpreter
};

}  // namespace

void Scope::Set(std::string_view name, Value value) {
  for (auto& [key, old] : variables) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

const Value* Scope::Find(std::string_view name) const {
  for (const auto& [key, value] : variables) {
    if (key == name) return &value;
  }
  return nullptr;
}

// A new innermost scope, for the life of the object.
class Interpreter::Entered {
 public:
  Entered(Interpreter& interpreter, std::shared_ptr<Scope> parent) : interpreter_(interpreter) {
    outer_ = std::move(interpreter.scope_);
    interpreter.scope_ = std::make_shared<Scope>(std::move(parent));
  }
  explicit Entered(Interpreter& interpreter) : Entered(interpreter, interpreter.scope_) {}
  ~Entered() { interpreter_.scope_ = std::move(outer_); }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

 private:
  Interpreter& interpreter_;
  std::shared_ptr<Scope> outer_;
};

Interpreter::Interpreter(const Template& source, const Variables& variables, const RenderLimits& limits, int64_t now)
    : template_(source), rt_(limits, now), scope_(std::make_shared<Scope>(nullptr)) {
  for (const auto& [name, value] : variables) scope_->variables.emplace_back(name, value);
}

Interpreter::~Interpreter() {
  block_text_ = Value();
  for (const auto& scope : kept_) scope->variables.clear();  // macros and scopes refer to each other
}

std::string Interpreter::Run() {
  std::string out;
  out_ = &out;
  Execute(template_.body);
  return out;
}

void Interpreter::Write(std::string_view text) {
  rt_.AddPending(text.size());
  out_->append(text);
}

Scope* Interpreter::Keep(const std::shared_ptr<Scope>& scope) {
  if (!scope->captured) {
    scope->captured = true;
    rt_.AddPending(sizeof(Scope) + 64);
    kept_.push_back(scope);
  }
  return scope.get();
}

Interpreter::Flow Interpreter::Execute(const Body& body) {
  const Runtime::Nested nested(rt_);
  for (const auto& stmt : body) {
    rt_.Step();
    position_ = stmt->position;
    const Flow flow = Execute(*stmt);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::Execute(const Stmt& stmt) {
  switch (stmt.kind) {
    case Stmt::Kind::kText:
      Write(stmt.text);
      break;
    case Stmt::Kind::kOutput:
      for (const ExprPtr& expr : stmt.exprs) {
        const Value value = Evaluate(*expr);
        if (value.is_string()) {
          Write(value.text());
        } else {
          Write(ToText(rt_, value));
        }
      }
      break;
    case Stmt::Kind::kIf:
      return If(stmt);
    case Stmt::Kind::kFor:
      return For(stmt, Evaluate(*stmt.exprs[1]), 0);
    case Stmt::Kind::kSet:
      Assign(*stmt.exprs[0], Evaluate(*stmt.exprs[1]));
      break;
    case Stmt::Kind::kSetBlock:
      return SetBlock(stmt);
    case Stmt::Kind::kMacro:
      scope_->Set(stmt.text, MakeMacro(stmt, stmt.text));
      break;
    case Stmt::Kind::kCallBlock:
      return CallBlock(stmt);
    case Stmt::Kind::kFilterBlock:
      return FilterBlock(stmt);
    case Stmt::Kind::kWith:
      return With(stmt);
    case Stmt::Kind::kBlock: {
      const Entered entered(*this);
      return Execute(stmt.bodies[0]);
    }
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::If(const Stmt& stmt) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    if (Truthy(Evaluate(*stmt.exprs[i]))) return Execute(stmt.bodies[i]);
  }
  return stmt.bodies.size() > stmt.exprs.size() ? Execute(stmt.bodies.back()) : Flow::kNext;
}

// Items that pass the condition of a for statement, tested one by one as the loop asks for them.
Value Interpreter::FilteredItems(const Stmt& stmt, const Value& iterable) {
  auto next = [this, &stmt, scope = scope_, source = Iterate(rt_, iterable)](Runtime& rt, Value* out) {
    while (source->Next(rt, out)) {
      const Entered entered(*this, scope);
      Assign(*stmt.exprs[0], *out);
      if (Truthy(Evaluate(*stmt.exprs[2]))) return true;
    }
    return false;
  };
  return rt_.New<GeneratorIterator>(iterable.depth(), "generator", std::move(next));
}

Interpreter::Flow Interpreter::For(const Stmt& stmt, const Value& iterable, int depth) {
  Loop::Recurse recurse;
  if (stmt.recursive) {
    recurse = [this, &stmt, scope = Keep(scope_)](const Value& items, int d) {
      return rt_.Str(RunLoop(stmt, *scope, items, d));
    };
  }
  const Value items = stmt.exprs[2] == nullptr ? iterable : FilteredItems(stmt, iterable);
  const Value loop_value = rt_.New<Loop>(items.depth(), rt_, items, depth, std::move(recurse));
  const auto loop = loop_value.As<Loop>();
  bool completed = false;  // a pass of the body that no break or continue cut short
  for (Value item; loop->Advance(rt_, &item);) {
    rt_.Step();
    const Entered entered(*this);
    scope_->Set("loop", loop_value);
    Assign(*stmt.exprs[0], item);
    const Flow flow = Execute(stmt.bodies[0]);
    if (flow == Flow::kBreak) break;
    completed |= flow == Flow::kNext;
  }
  if (completed || stmt.bodies[1].empty()) return Flow::kNext;
  const Entered entered(*this);
  return Execute(stmt.bodies[1]);
}

std::string Interpreter::RunLoop(const Stmt& loop, Scope& scope, const Value& iterable, int depth) {
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  {
    std::shared_ptr<Scope> outer = std::exchange(scope_, scope.shared_from_this());
    For(loop, iterable, depth);
    scope_ = std::move(outer);
  }
  out_ = out;
  rt_.ReleasePending(text.size());
  return text;
}

Interpreter::Flow Interpreter::Capture(const Body& body, std::string* text) {
  const Entered entered(*this);
  std::string* const out = std::exchange(out_, text);
  const Flow flow = Execute(body);
  out_ = out;
  rt_.ReleasePending(text->size());
  return flow;
}

Interpreter::Flow Interpreter::SetBlock(const Stmt& stmt) {
  std::string text;
  const Flow flow = Capture(stmt.bodies[0], &text);
  if (flow != Flow::kNext) return flow;
  Value value = rt_.Str(std::move(text));
  if (stmt.exprs[1] != nullptr) {
    block_text_ = std::move(value);
    value = Evaluate(*stmt.exprs[1]);
  }
  Assign(*stmt.exprs[0], value);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::FilterBlock(const Stmt& stmt) {
  std::string text;
  const Flow flow = Capture(stmt.bodies[0], &text);
  if (flow != Flow::kNext) return flow;
  block_text_ = rt_.Str(std::move(text));
  Write(ToText(rt_, Evaluate(*stmt.exprs[0])));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::CallBlock(const Stmt& stmt) {
  const Value caller = MakeMacro(stmt, "caller");
  Write(ToText(rt_, EvaluateCall(*stmt.exprs[0], &caller)));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::With(const Stmt& stmt) {
  std::vector<Value> values;
  for (size_t i = 1; i < stmt.exprs.size(); i += 2) values.push_back(Evaluate(*stmt.exprs[i]));
  const Entered entered(*this);
  for (size_t i = 0; i < values.size(); ++i) Assign(*stmt.exprs[2 * i], values[i]);
  return Execute(stmt.bodies[0]);
}

void Interpreter::Assign(const Expr& target, const Value& value) {
  rt_.Step();
  if (target.kind == Expr::Kind::kName) {
    scope_->Set(target.name, value);
    return;
  }
  position_ = target.position;
  if (target.kind == Expr::Kind::kNamespaceRef) {
    const auto object = Lookup(target).As<Namespace>();
    if (object == nullptr) Fail("cannot assign attribute on non-namespace object");
    object->Set(rt_, target.attribute, value);
    return;
  }
  const std::vector<Value> items = ToVector(rt_, value);
  if (items.size() != target.kids.size()) {
    Fail("expected " + std::to_string(target.kids.size()) + " values to unpack, found " + std::to_string(items.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) Assign(*target.kids[i], items[i]);
}

Value Interpreter::MakeMacro(const Stmt& stmt, std::string name) {
  return rt_.New<Macro>(0, this, &stmt, std::move(name), Keep(scope_));
}

Value Interpreter::CallMacro(const Stmt& macro, const std::string& name, Scope& scope, const Args& args) {
  const Runtime::Nested nested(rt_);
  const Signature& signature = macro.signature;
  std::vector<std::pair<std::string, Value>> named = args.named;
  const auto take = [&named](std::string_view key) -> std::optional<Value> {
    const auto it = std::find_if(named.begin(), named.end(), [&](const auto& a) { return a.first == key; });
    if (it == named.end()) return std::nullopt;
    Value value = std::move(it->second);
    named.erase(it);
    return value;
  };
  const Entered entered(*this, scope.shared_from_this());
  const size_t count = signature.parameters.size();
  std::vector<const Parameter*> missing;
  for (size_t i = 0; i < count; ++i) {
    const Parameter& parameter = signature.parameters[i];
    std::optional<Value> value;
    if (i < args.positional.size()) {
      value = args.positional[i];
    } else {
      value = take(parameter.name);
    }
    if (value.has_value()) {
      scope_->Set(parameter.name, *std::move(value));
    } else {
      missing.push_back(&parameter);
    }
  }
  if (signature.uses_caller) {
    scope_->Set("caller", take("caller").value_or(rt_.UndefinedOf("No caller defined")));
  }
  if (signature.uses_kwargs) {
    std::vector<Dict::Item> items;
    items.reserve(named.size());
    for (auto& [key, value] : named) items.emplace_back(rt_.Str(key), value);
    scope_->Set("kwargs", rt_.MakeDict(std::move(items)));
  } else if (!named.empty()) {
    Fail("macro '" + name + "' takes no keyword argument '" + named[0].first + "'");
  }
  if (signature.uses_varargs) {
    const size_t rest = std::min(count, args.positional.size());
    scope_->Set("varargs", rt_.Tuple({args.positional.begin() + static_cast<ptrdiff_t>(rest), args.positional.end()}));
  } else if (args.positional.size() > count) {
    Fail("macro '" + name + "' takes not more than " + std::to_string(count) + " argument(s)");
  }
  for (const Parameter* parameter : missing) {
    scope_->Set(parameter->name, parameter->default_value != nullptr
                                     ? Evaluate(*parameter->default_value)
                                     : rt_.UndefinedOf("parameter '" + parameter->name + "' was not provided"));
  }
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  Execute(macro.bodies[0]);
  out_ = out;
  rt_.ReleasePending(text.size());
  return rt_.Str(std::move(text));
}

}  // namespace inkstone::jinja

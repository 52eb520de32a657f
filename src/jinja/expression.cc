// The expression half of the interpreter.
#include <algorithm>

#include "jinja/interpreter.h"

namespace inkstone::jinja {

Value Interpreter::Evaluate(const Expr& expr) {
  const Runtime::Nested nested(rt_);
  rt_.Step();
  switch (expr.kind) {
    case Expr::Kind::kConstant:
      return expr.constant;
    case Expr::Kind::kName:
    case Expr::Kind::kNamespaceRef:
      return Lookup(expr);
    case Expr::Kind::kList:
      return rt_.List(EvaluateAll(expr.kids));
    case Expr::Kind::kTuple:
      return rt_.Tuple(EvaluateAll(expr.kids));
    case Expr::Kind::kDict:
      return EvaluateDict(expr);
    case Expr::Kind::kConcat:
      return EvaluateConcat(expr);
    case Expr::Kind::kBinary:
      return EvaluateBinary(expr);
    case Expr::Kind::kNegate:
    case Expr::Kind::kPositive: {
      const Value value = Evaluate(*expr.kids[0]);
      position_ = expr.position;
      return expr.kind == Expr::Kind::kNegate ? Negate(value) : Positive(value);
    }
    case Expr::Kind::kNot:
      return Value::Bool(!Truthy(Evaluate(*expr.kids[0])));
    case Expr::Kind::kAnd:
    case Expr::Kind::kOr: {
      Value left = Evaluate(*expr.kids[0]);
      return Truthy(left) == (expr.kind == Expr::Kind::kOr) ? left : Evaluate(*expr.kids[1]);
    }
    case Expr::Kind::kCompare:
      return EvaluateCompare(expr);
    case Expr::Kind::kCondition:
      return EvaluateCondition(expr);
    case Expr::Kind::kAttribute: {
      const Value object = Evaluate(*expr.kids[0]);
      position_ = expr.position;
      return GetAttribute(rt_, object, expr.name);
    }
    case Expr::Kind::kItem:
      return EvaluateItem(expr);
    case Expr::Kind::kSlice:
      return EvaluateSlice(expr);
    case Expr::Kind::kCall:
      return EvaluateCall(expr, nullptr);
    case Expr::Kind::kFilter:
      return EvaluateFilter(expr);
    case Expr::Kind::kTest:
      return EvaluateTest(expr);
  }
  return Value();
}

Value Interpreter::Lookup(const Expr& expr) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    rt_.Work(scope->variables.size() * 16);
    if (const Value* found = scope->Find(expr.name)) return *found;
  }
  if (const Function global = FindGlobal(expr.name)) return FunctionValue(rt_, expr.name, global);
  return rt_.UndefinedOf("'" + expr.name + "' is undefined");
}

std::vector<Value> Interpreter::EvaluateAll(const std::vector<ExprPtr>& kids) {
  std::vector<Value> values;
  values.reserve(kids.size());
  for (const ExprPtr& kid : kids) values.push_back(Evaluate(*kid));
  return values;
}

Value Interpreter::EvaluateDict(const Expr& expr) {
  std::vector<Dict::Item> items;
  for (size_t i = 0; i < expr.kids.size(); i += 2) {
    Value key = Evaluate(*expr.kids[i]);
    items.emplace_back(std::move(key), Evaluate(*expr.kids[i + 1]));
  }
  position_ = expr.position;
  return rt_.MakeDict(std::move(items));
}

Value Interpreter::EvaluateConcat(const Expr& expr) {
  const std::vector<Value> parts = EvaluateAll(expr.kids);
  position_ = expr.position;
  std::string text;
  for (const Value& part : parts) {
    text += ToText(rt_, part);
    rt_.Reserve(text.size());
  }
  return rt_.Str(std::move(text));
}

Value Interpreter::EvaluateBinary(const Expr& expr) {
  const Value left = Evaluate(*expr.kids[0]);
  const Value right = Evaluate(*expr.kids[1]);
  position_ = expr.position;
  return Binary(rt_, expr.op, left, right);
}

bool Interpreter::CompareValues(CompareOp op, const Value& a, const Value& b) {
  switch (op) {
    case CompareOp::kEq:
      return Equals(rt_, a, b);
    case CompareOp::kNe:
      return !Equals(rt_, a, b);
    case CompareOp::kLt:
      return Less(rt_, a, b);
    case CompareOp::kGt:
      return Less(rt_, b, a);
    case CompareOp::kLe:
      return Less(rt_, a, b) || Equals(rt_, a, b);
    case CompareOp::kGe:
      return Less(rt_, b, a) || Equals(rt_, a, b);
    case CompareOp::kIn:
      return Contains(rt_, b, a);
    case CompareOp::kNotIn:
      return !Contains(rt_, b, a);
  }
  return false;
}

Value Interpreter::EvaluateCompare(const Expr& expr) {
  Value left = Evaluate(*expr.kids[0]);
  for (size_t i = 0; i < expr.compare.size(); ++i) {
    Value right = Evaluate(*expr.kids[i + 1]);
    position_ = expr.position;
    if (!CompareValues(expr.compare[i], left, right)) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Value Interpreter::EvaluateCondition(const Expr& expr) {
  if (Truthy(Evaluate(*expr.kids[0]))) return Evaluate(*expr.kids[1]);
  if (expr.kids[2] != nullptr) return Evaluate(*expr.kids[2]);
  return rt_.UndefinedOf("the inline if-expression evaluated to false and no else section was defined");
}

Value Interpreter::EvaluateItem(const Expr& expr) {
  const Value object = Evaluate(*expr.kids[0]);
  const Value key = Evaluate(*expr.kids[1]);
  position_ = expr.position;
  return GetItem(rt_, object, key);
}

Value Interpreter::EvaluateSlice(const Expr& expr) {
  const Value object = Evaluate(*expr.kids[0]);
  const auto bound = [&](size_t i) { return expr.kids[i] == nullptr ? Value::None() : Evaluate(*expr.kids[i]); };
  SliceBounds bounds;
  bounds.start = bound(1);
  bounds.stop = bound(2);
  bounds.step = bound(3);
  position_ = expr.position;
  return GetSlice(rt_, object, bounds);
}

void Interpreter::EvaluateArguments(const Expr& expr, Args* args) {
  const size_t positional = expr.kids.size() - expr.keywords.size();
  for (size_t i = 1; i < positional; ++i) args->positional.push_back(Evaluate(*expr.kids[i]));
  for (size_t i = 0; i < expr.keywords.size(); ++i) {
    const std::string& keyword = expr.keywords[i];
    const Value value = Evaluate(*expr.kids[positional + i]);
    position_ = expr.position;
    if (keyword == "*") {
      const std::vector<Value> items = ToVector(rt_, value);
      args->positional.insert(args->positional.end(), items.begin(), items.end());
    } else if (keyword == "**") {
      if (!value.is_dict()) Fail("the argument after ** must be a mapping, not " + std::string(TypeName(value)));
      for (const auto& [key, item] : value.dict().items) {
        if (!key.is_string()) Fail("keywords must be strings");
        for (const auto& [name, other] : args->named) {
          if (name == key.text()) Fail("got multiple values for keyword argument '" + name + "'");
        }
        rt_.Work(args->named.size() * 32);
        args->named.emplace_back(key.text(), item);
      }
    } else {
      args->named.emplace_back(keyword, value);
    }
  }
}

Value Interpreter::EvaluateCall(const Expr& expr, const Value* caller) {
  const Value callee = Evaluate(*expr.kids[0]);
  Args args;
  EvaluateArguments(expr, &args);
  if (caller != nullptr) args.named.emplace_back("caller", *caller);
  position_ = expr.position;
  return Call(rt_, callee, args);
}

Value Interpreter::EvaluateFilter(const Expr& expr) {
  Args args;
  args.positional.push_back(expr.kids[0] == nullptr ? std::exchange(block_text_, Value()) : Evaluate(*expr.kids[0]));
  EvaluateArguments(expr, &args);
  position_ = expr.position;
  if (expr.function == nullptr) Fail("no filter is named '" + expr.name + "'");
  return expr.function(rt_, args);
}

Value Interpreter::EvaluateTest(const Expr& expr) {
  Args args;
  args.positional.push_back(Evaluate(*expr.kids[0]));
  EvaluateArguments(expr, &args);
  position_ = expr.position;
  if (expr.function == nullptr) Fail("no test is named '" + expr.name + "'");
  return expr.function(rt_, args);
}

}  // namespace inkstone::jinja

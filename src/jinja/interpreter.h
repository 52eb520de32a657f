// Walks the syntax tree of a template and writes its text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/ast.h"

namespace inkstone::jinja {

// Names visible in one block; the tree and the caller's variables own the names.
struct Scope : std::enable_shared_from_this<Scope> {
  explicit Scope(std::shared_ptr<Scope> p) : parent(std::move(p)) {}
  void Set(std::string_view name, Value value);
  const Value* Find(std::string_view name) const;  // here only

  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string_view, Value>> variables;
  bool captured = false;
};

class Interpreter {
 public:
  using Variables = std::vector<std::pair<std::string, Value>>;
  // Of variables of one name the first counts. The tree and the variables must outlive the interpreter.
  Interpreter(const Template& source, const Variables& variables, const RenderLimits& limits, int64_t now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Throws Error; position() is then where. At most once.
  std::string Run();
  Position position() const { return position_; }

  // For macros and recursive loops.
  Value CallMacro(const Stmt& macro, const std::string& name, Scope& scope, const Args& args);
  std::string RunLoop(const Stmt& loop, Scope& scope, const Value& iterable, int depth);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Entered;

  Flow Execute(const Body& body);
  Flow Execute(const Stmt& stmt);
  Flow If(const Stmt& stmt);
  Flow For(const Stmt& stmt, const Value& iterable, int depth);
  Value FilteredItems(const Stmt& stmt, const Value& iterable);
  Flow SetBlock(const Stmt& stmt);
  Flow CallBlock(const Stmt& stmt);
  Flow FilterBlock(const Stmt& stmt);
  Flow With(const Stmt& stmt);
  void Assign(const Expr& target, const Value& value);
  void Write(std::string_view text);
  // Runs the body in a scope of its own; `text` receives what it writes.
  Flow Capture(const Body& body, std::string* text);

  Value Evaluate(const Expr& expr);
  Value Lookup(const Expr& expr);
  Value EvaluateBinary(const Expr& expr);
  Value EvaluateCompare(const Expr& expr);
  Value EvaluateItem(const Expr& expr);
  Value EvaluateSlice(const Expr& expr);
  Value EvaluateDict(const Expr& expr);
  Value EvaluateConcat(const Expr& expr);
  Value EvaluateCall(const Expr& expr, const Value* caller);
  Value EvaluateFilter(const Expr& expr);
  Value EvaluateTest(const Expr& expr);
  Value EvaluateCondition(const Expr& expr);
  std::vector<Value> EvaluateAll(const std::vector<ExprPtr>& kids);
  void EvaluateArguments(const Expr& expr, Args* args);
  bool CompareValues(CompareOp op, const Value& a, const Value& b);

  // Keeps the scope until the end of the rendering: a macro or a recursive loop refers to it.
  Scope* Keep(const std::shared_ptr<Scope>& scope);
  Value MakeMacro(const Stmt& stmt, std::string name);

  const Template& template_;
  Runtime rt_;
  std::shared_ptr<Scope> scope_;
  std::vector<std::shared_ptr<Scope>> kept_;
  std::string* out_ = nullptr;
  Position position_;
  Value block_text_;  // subject of the filters of a filter block or a set block
};

}  // namespace inkstone::jinja

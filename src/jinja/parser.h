// Tokens to syntax tree, with jinja2's grammar.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/ast.h"
#include "jinja/lexer.h"

namespace inkstone::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  // Throws SyntaxError.
  Body Parse();

 private:
  // Bounds recursion.
  class Nested {
   public:
    explicit Nested(Parser& parser);
    ~Nested() { --parser_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser& parser_;
  };
  // Sets a variable for the life of the object.
  template <typename T>
  class Scoped {
   public:
    Scoped(T& variable, T value) : variable_(variable), old_(variable) { variable_ = value; }
    ~Scoped() { variable_ = old_; }
    Scoped(const Scoped&) = delete;
    Scoped& operator=(const Scoped&) = delete;

   private:
    T& variable_;
    T old_;
  };

  // Tokens.
  const Token& Current() const { return tokens_[pos_]; }
  const Token& Look() const { return tokens_[std::min(pos_ + 1, tokens_.size() - 1)]; }
  const Token& Take() { return tokens_[pos_ + 1 < tokens_.size() ? pos_++ : pos_]; }
  bool SkipName(std::string_view name);
  bool SkipOperator(std::string_view op);
  void ExpectOperator(std::string_view op);
  std::string ExpectName(std::string_view what);
  void ExpectBlockEnd();
  [[noreturn]] void FailExpected(std::string_view what) const;
  [[noreturn]] void FailAt(Position position, std::string message) const;

  // Statements (jinja_statements.cc).
  Body ParseBody(std::initializer_list<std::string_view> ends);
  std::unique_ptr<Stmt> ParseStatement();
  std::unique_ptr<Stmt> ParseIf();
  std::unique_ptr<Stmt> ParseFor();
  std::unique_ptr<Stmt> ParseSet();
  std::unique_ptr<Stmt> ParseMacro();
  std::unique_ptr<Stmt> ParseCallBlock();
  std::unique_ptr<Stmt> ParseFilterBlock();
  std::unique_ptr<Stmt> ParseWith();
  std::unique_ptr<Stmt> ParseScope(std::string_view end, bool named);
  std::unique_ptr<Stmt> ParsePrint();
  std::unique_ptr<Stmt> ParseJump(Stmt::Kind kind);
  Body ParseFunctionBody(Signature* signature, std::string_view end);
  // Statements until one of `ends`, which is taken too; `last` receives it.
  Body ParseBlock(std::initializer_list<std::string_view> ends, std::string* last);
  void ParseSignature(Signature* signature);
  ExprPtr ParseTarget(bool with_namespace);
  void CheckTarget(const Expr& target) const;

  // Expressions (operators in jinja_parser.cc, operands in jinja_operands.cc).
  ExprPtr ParseExpression() { return ParseCondition(); }
  ExprPtr ParseCondition();
  ExprPtr ParseOr();
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseUnary(bool with_filter);
  ExprPtr ParsePrimary(bool with_namespace);
  ExprPtr ParseName(bool with_namespace);
  ExprPtr ParseNumber();
  ExprPtr ParsePostfix(ExprPtr subject);
  ExprPtr ParseFilters(ExprPtr subject);
  ExprPtr ParseFilterChain(ExprPtr subject, bool start_inline);
  ExprPtr ParseTest(ExprPtr subject);
  ExprPtr ParseSubscript(ExprPtr object);
  ExprPtr ParseSubscripted();
  ExprPtr ParseListLiteral();
  ExprPtr ParseDictLiteral();
  enum class TupleMode { kFull, kNoCondition, kPrimary, kPrimaryOrNamespace };
  ExprPtr ParseTuple(TupleMode mode, bool in_parentheses);
  void ParseArguments(Expr* call);
  std::string DottedName(std::string_view what);
  bool AtTupleEnd() const;
  bool NextCompare(CompareOp* op);

  ExprPtr Make(Expr::Kind kind, Position position) const;
  // Sets the depth of a finished node and bounds it.
  ExprPtr Seal(ExprPtr node) const;
  ExprPtr MakeBinary(Operator op, ExprPtr left, ExprPtr right, Position position) const;

  std::vector<Token> tokens_;
  size_t pos_ = 0;
  int depth_ = 0;
  int for_depth_ = 0;                 // enclosing for statements: "loop" can't be assigned there
  int loop_depth_ = 0;                // loops that break and continue can reach
  bool soft_ = false;                 // in a branch: unknown filters and tests fail when they are evaluated, not before
  std::vector<SyntaxError> unknown_;  // unknown filters and tests outside of branches
  std::vector<Signature*> functions_;  // enclosing macros and call blocks
};

}  // namespace inkstone::jinja

// The statement half of the parser.
#include <algorithm>

#include "jinja/parser.h"

namespace inkstone::jinja {

Body Parser::Parse() {
  Body body = ParseBody({});
  if (!unknown_.empty()) throw unknown_[0];
  return body;
}

void Parser::ExpectBlockEnd() {
  if (Current().type != TokenType::kBlockEnd) FailExpected("'%}'");
  Take();
}

// Stops at the name of an end tag, which is left in place; without ends, at the end of the template.
Body Parser::ParseBody(std::initializer_list<std::string_view> ends) {
  const Nested nested(*this);
  Body body;
  while (Current().type != TokenType::kEnd) {
    const Token& token = Take();
    auto node = std::make_unique<Stmt>();
    node->position = token.position;
    if (token.type == TokenType::kText) {
      node->text = token.text;
    } else if (token.type == TokenType::kOutputBegin) {
      node->kind = Stmt::Kind::kOutput;
      node->exprs.push_back(ParseTuple(TupleMode::kFull, false));
      if (Current().type != TokenType::kOutputEnd) FailExpected("'}}'");
      Take();
    } else {  // kBlockBegin: tags are balanced by the lexer
      const auto at_end = [this](std::string_view end) { return Current().IsName(end); };
      if (std::any_of(ends.begin(), ends.end(), at_end)) return body;
      node = ParseStatement();
      node->position = token.position;
      ExpectBlockEnd();
    }
    body.push_back(std::move(node));
  }
  if (ends.size() > 0) FailExpected("'" + std::string(*(ends.end() - 1)) + "'");
  return body;
}

Body Parser::ParseBlock(std::initializer_list<std::string_view> ends, std::string* last) {
  SkipOperator(":");
  ExpectBlockEnd();
  Body body = ParseBody(ends);
  *last = Take().text;
  return body;
}

std::unique_ptr<Stmt> Parser::ParseStatement() {
  if (Current().type != TokenType::kName) FailExpected("the name of a tag");
  const Token& tag = Take();
  if (tag.text == "if") return ParseIf();
  if (tag.text == "for") return ParseFor();
  if (tag.text == "set") return ParseSet();
  if (tag.text == "macro") return ParseMacro();
  if (tag.text == "call") return ParseCallBlock();
  if (tag.text == "filter") return ParseFilterBlock();
  if (tag.text == "with") return ParseWith();
  if (tag.text == "generation") return ParseScope("endgeneration", false);
  if (tag.text == "block") return ParseScope("endblock", true);
  if (tag.text == "print") return ParsePrint();
  if (tag.text == "break") return ParseJump(Stmt::Kind::kBreak);
  if (tag.text == "continue") return ParseJump(Stmt::Kind::kContinue);
  FailAt(tag.position, "unknown tag '" + tag.text + "'");
}

std::unique_ptr<Stmt> Parser::ParseIf() {
  const Scoped<bool> soft(soft_, true);
  auto node = std::make_unique<Stmt>();
  node->kind = Stmt::Kind::kIf;
  std::string last;
  do {
    node->exprs.push_back(ParseTuple(TupleMode::kNoCondition, false));
    node->bodies.push_back(ParseBlock({"elif", "else", "endif"}, &last));
  } while (last == "elif");
  if (last == "else") node->bodies.push_back(ParseBlock({"endif"}, &last));
  return node;
}

std::unique_ptr<Stmt> Parser::ParseFor() {
  const Scoped<int> in_for(for_depth_, for_depth_ + 1);
  auto node = std::make_unique<Stmt>();
  node->kind = Stmt::Kind::kFor;
  node->exprs.push_back(ParseTarget(false));
  if (!SkipName("in")) FailExpected("'in'");
  node->exprs.push_back(ParseTuple(TupleMode::kNoCondition, false));
  const Scoped<bool> soft(soft_, false);
  node->exprs.push_back(SkipName("if") ? ParseExpression() : nullptr);
  node->recursive = SkipName("recursive");
  std::string last;
  {
    const Scoped<int> loop(loop_depth_, loop_depth_ + 1);
    node->bodies.push_back(ParseBlock({"else", "endfor"}, &last));
  }
  const Scoped<int> outer(loop_depth_, node->recursive ? 0 : loop_depth_);
  node->bodies.emplace_back();
  if (last == "else") node->bodies[1] = ParseBlock({"endfor"}, &last);
  return node;
}

void Parser::CheckTarget(const Expr& target) const {
  switch (target.kind) {
    case Expr::Kind::kName:
      if (target.name == "loop" && for_depth_ > 0) FailAt(target.position, "can't assign to 'loop' in a for loop");
      return;
    case Expr::Kind::kNamespaceRef:
      return;
    case Expr::Kind::kTuple:
      for (const ExprPtr& kid : target.kids) CheckTarget(*kid);
      return;
    default:
      FailAt(target.position, "expected the name of a variable to assign to");
  }
}

ExprPtr Parser::ParseTarget(bool with_namespace) {
  ExprPtr target = ParseTuple(with_namespace ? TupleMode::kPrimaryOrNamespace : TupleMode::kPrimary, false);
  CheckTarget(*target);
  return target;
}

std::unique_ptr<Stmt> Parser::ParseSet() {
  auto node = std::make_unique<Stmt>();
  node->exprs.push_back(ParseTarget(true));
  if (SkipOperator("=")) {
    node->kind = Stmt::Kind::kSet;
    node->exprs.push_back(ParseTuple(TupleMode::kFull, false));
    return node;
  }
  node->kind = Stmt::Kind::kSetBlock;
  const Scoped<bool> soft(soft_, false);
  node->exprs.push_back(ParseFilterChain(nullptr, false));
  std::string last;
  node->bodies.push_back(ParseBlock({"endset"}, &last));
  return node;
}

void Parser::ParseSignature(Signature* signature) {
  ExpectOperator("(");
  auto& parameters = signature->parameters;
  while (!Current().Is(")")) {
    if (!parameters.empty()) ExpectOperator(",");
    Parameter parameter;
    const Position position = Current().position;
    parameter.name = ExpectName("a parameter's name");
    for (const Parameter& other : parameters) {
      if (other.name == parameter.name) FailAt(position, "two parameters are named '" + parameter.name + "'");
    }
    if (SkipOperator("=")) {
      parameter.default_value = ParseExpression();
    } else if (!parameters.empty() && parameters.back().default_value != nullptr) {
      FailAt(position, "a parameter without a default follows one with a default");
    }
    parameters.push_back(std::move(parameter));
  }
  ExpectOperator(")");
}

Body Parser::ParseFunctionBody(Signature* signature, std::string_view end) {
  const Scoped<bool> soft(soft_, false);
  const Scoped<int> loops(loop_depth_, 0);
  functions_.push_back(signature);
  std::string last;
  Body body = ParseBlock({end}, &last);
  functions_.pop_back();
  for (const Parameter& parameter : signature->parameters) {
    if (parameter.name == "caller") {
      if (signature->uses_caller && parameter.default_value == nullptr) {
        FailAt(Current().position, "the parameter 'caller' needs a default");
      }
      signature->uses_caller = false;
    }
    if (parameter.name == "varargs") signature->uses_varargs = false;
    if (parameter.name == "kwargs") signature->uses_kwargs = false;
  }
  return body;
}

std::unique_ptr<Stmt> Parser::ParseMacro() {
  auto node = std::make_unique<Stmt>();
  node->kind = Stmt::Kind::kMacro;
  node->text = ExpectName("a macro's name");
  const Scoped<bool> soft(soft_, false);
  ParseSignature(&node->signature);
  node->bodies.push_back(ParseFunctionBody(&node->signature, "endmacro"));
  return node;
}

std::unique_ptr<Stmt> Parser::ParseCallBlock() {
  auto node = std::make_unique<Stmt>();
  node->kind = Stmt::Kind::kCallBlock;
  if (Current().Is("(")) ParseSignature(&node->signature);
  const Position position = Current().position;
  node->exprs.push_back(ParseExpression());
  if (node->exprs[0]->kind != Expr::Kind::kCall) FailAt(position, "expected a call");
  node->bodies.push_back(ParseFunctionBody(&node->signature, "endcall"));
  return node;
}

std::unique_ptr<Stmt> Parser::ParseFilterBlock() {
  auto node = std::make_unique<Stmt>();
  node->kind = Stmt::Kind::kFilterBlock;
  const Scoped<bool> soft(soft_, false);
  node->exprs.push_back(ParseFilterChain(nullptr, true));
  std::string last;
  node->bodies.push_back(ParseBlock({"endfilter"}, &last));
  return node;
}

std::unique_ptr<Stmt> Parser::ParseWith() {
  auto node = std::make_unique<Stmt>();
  node->kind = Stmt::Kind::kWith;
  while (Current().type != TokenType::kBlockEnd) {
    if (!node->exprs.empty()) ExpectOperator(",");
    node->exprs.push_back(ParseTarget(false));
    ExpectOperator("=");
    node->exprs.push_back(ParseExpression());
  }
  const Scoped<bool> soft(soft_, false);
  std::string last;
  node->bodies.push_back(ParseBlock({"endwith"}, &last));
  return node;
}

std::unique_ptr<Stmt> Parser::ParseScope(std::string_view end, bool named) {
  auto node = std::make_unique<Stmt>();
  node->kind = Stmt::Kind::kBlock;
  if (named) {
    node->text = ExpectName("a block's name");
    SkipName("scoped");
  }
  const Scoped<bool> soft(soft_, false);
  const Scoped<int> loops(loop_depth_, 0);
  std::string last;
  node->bodies.push_back(ParseBlock({end}, &last));
  if (named) SkipName(node->text);
  return node;
}

std::unique_ptr<Stmt> Parser::ParsePrint() {
  auto node = std::make_unique<Stmt>();
  node->kind = Stmt::Kind::kOutput;
  while (Current().type != TokenType::kBlockEnd) {
    if (!node->exprs.empty()) ExpectOperator(",");
    node->exprs.push_back(ParseExpression());
  }
  return node;
}

std::unique_ptr<Stmt> Parser::ParseJump(Stmt::Kind kind) {
  if (loop_depth_ == 0) {
    FailAt(Current().position, std::string(kind == Stmt::Kind::kBreak ? "break" : "continue") + " outside of a loop");
  }
  auto node = std::make_unique<Stmt>();
  node->kind = kind;
  return node;
}

}  // namespace inkstone::jinja

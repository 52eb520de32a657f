#include "jinja/parser.h"

#include <algorithm>

namespace inkstone::jinja {
namespace {

constexpr int kMaxNesting = 120;    // of statements and brackets
constexpr int kMaxTreeDepth = 400;  // of one expression: a + b + c ... is a deep tree without any bracket

std::string Describe(const Token& token) {
  switch (token.type) {
    case TokenType::kEnd:
      return "the end of the template";
    case TokenType::kText:
      return "text";
    case TokenType::kString:
      return "a string";
    default:
      return "'" + token.text + "'";
  }
}

}  // namespace

Parser::Nested::Nested(Parser& parser) : parser_(parser) {
  if (parser_.depth_ >= kMaxNesting) {
    parser_.FailAt(parser_.Current().position, "nested deeper than " + std::to_string(kMaxNesting) + " levels");
  }
  ++parser_.depth_;
}

void Parser::FailAt(Position position, std::string message) const { throw SyntaxError{position, std::move(message)}; }

void Parser::FailExpected(std::string_view what) const {
  FailAt(Current().position, "expected " + std::string(what) + ", found " + Describe(Current()));
}

bool Parser::SkipName(std::string_view name) {
  if (!Current().IsName(name)) return false;
  Take();
  return true;
}

bool Parser::SkipOperator(std::string_view op) {
  if (!Current().Is(op)) return false;
  Take();
  return true;
}

void Parser::ExpectOperator(std::string_view op) {
  if (!SkipOperator(op)) FailExpected("'" + std::string(op) + "'");
}

std::string Parser::ExpectName(std::string_view what) {
  if (Current().type != TokenType::kName) FailExpected(what);
  return Take().text;
}

ExprPtr Parser::Make(Expr::Kind kind, Position position) const {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->position = position;
  return node;
}

ExprPtr Parser::Seal(ExprPtr node) const {
  for (const ExprPtr& kid : node->kids) {
    if (kid != nullptr) node->depth = std::max(node->depth, kid->depth + 1);
  }
  if (node->depth > kMaxTreeDepth) FailAt(node->position, "the expression is too deep");
  return node;
}

ExprPtr Parser::MakeBinary(Operator op, ExprPtr left, ExprPtr right, Position position) const {
  auto node = Make(Expr::Kind::kBinary, position);
  node->op = op;
  node->kids.push_back(std::move(left));
  node->kids.push_back(std::move(right));
  return Seal(std::move(node));
}

ExprPtr Parser::ParseCondition() {
  const Nested nested(*this);
  const size_t unknown = unknown_.size();
  ExprPtr value = ParseOr();
  while (Current().IsName("if")) {
    auto node = Make(Expr::Kind::kCondition, Take().position);
    node->kids.push_back(ParseOr());
    node->kids.push_back(std::move(value));
    node->kids.push_back(SkipName("else") ? ParseCondition() : nullptr);
    value = Seal(std::move(node));
    unknown_.resize(unknown);
  }
  return value;
}

ExprPtr Parser::ParseOr() {
  ExprPtr left = ParseAnd();
  while (Current().IsName("or")) {
    auto node = Make(Expr::Kind::kOr, Take().position);
    node->kids.push_back(std::move(left));
    node->kids.push_back(ParseAnd());
    left = Seal(std::move(node));
  }
  return left;
}

ExprPtr Parser::ParseAnd() {
  ExprPtr left = ParseNot();
  while (Current().IsName("and")) {
    auto node = Make(Expr::Kind::kAnd, Take().position);
    node->kids.push_back(std::move(left));
    node->kids.push_back(ParseNot());
    left = Seal(std::move(node));
  }
  return left;
}

ExprPtr Parser::ParseNot() {
  if (!Current().IsName("not")) return ParseCompare();
  const Nested nested(*this);
  auto node = Make(Expr::Kind::kNot, Take().position);
  node->kids.push_back(ParseNot());
  return Seal(std::move(node));
}

bool Parser::NextCompare(CompareOp* op) {
  static constexpr std::pair<std::string_view, CompareOp> kOperators[] = {
      {"==", CompareOp::kEq}, {"!=", CompareOp::kNe}, {"<", CompareOp::kLt},
      {"<=", CompareOp::kLe}, {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  for (const auto& [text, value] : kOperators) {
    if (Current().Is(text)) {
      Take();
      *op = value;
      return true;
    }
  }
  if (SkipName("in")) {
    *op = CompareOp::kIn;
    return true;
  }
  if (Current().IsName("not") && Look().IsName("in")) {
    Take();
    Take();
    *op = CompareOp::kNotIn;
    return true;
  }
  return false;
}

ExprPtr Parser::ParseCompare() {
  const Position position = Current().position;
  ExprPtr first = ParseSum();
  CompareOp op;
  if (!NextCompare(&op)) return first;
  auto node = Make(Expr::Kind::kCompare, position);
  node->kids.push_back(std::move(first));
  do {
    node->compare.push_back(op);
    node->kids.push_back(ParseSum());
  } while (NextCompare(&op));
  return Seal(std::move(node));
}

ExprPtr Parser::ParseSum() {
  ExprPtr left = ParseConcat();
  while (Current().Is("+") || Current().Is("-")) {
    const Token& op = Take();
    left = MakeBinary(op.text == "+" ? Operator::kAdd : Operator::kSub, std::move(left), ParseConcat(), op.position);
  }
  return left;
}

ExprPtr Parser::ParseConcat() {
  const Position position = Current().position;
  ExprPtr first = ParseProduct();
  if (!Current().Is("~")) return first;
  auto node = Make(Expr::Kind::kConcat, position);
  node->kids.push_back(std::move(first));
  while (SkipOperator("~")) node->kids.push_back(ParseProduct());
  return Seal(std::move(node));
}

ExprPtr Parser::ParseProduct() {
  ExprPtr left = ParsePower();
  while (true) {
    const Token& op = Current();
    Operator kind = Operator::kMul;
    if (op.Is("/")) {
      kind = Operator::kDiv;
    } else if (op.Is("//")) {
      kind = Operator::kFloorDiv;
    } else if (op.Is("%")) {
      kind = Operator::kMod;
    } else if (!op.Is("*")) {
      return left;
    }
    Take();
    left = MakeBinary(kind, std::move(left), ParsePower(), op.position);
  }
}

ExprPtr Parser::ParsePower() {
  ExprPtr left = ParseUnary(true);
  while (Current().Is("**")) {
    const Position position = Take().position;
    left = MakeBinary(Operator::kPow, std::move(left), ParseUnary(true), position);
  }
  return left;
}

ExprPtr Parser::ParseUnary(bool with_filter) {
  const Nested nested(*this);
  ExprPtr node;
  if (Current().Is("-") || Current().Is("+")) {
    const Token& op = Take();
    node = Make(op.text == "-" ? Expr::Kind::kNegate : Expr::Kind::kPositive, op.position);
    node->kids.push_back(ParseUnary(false));
    node = Seal(std::move(node));
  } else {
    node = ParsePrimary(false);
  }
  node = ParsePostfix(std::move(node));
  return with_filter ? ParseFilters(std::move(node)) : std::move(node);
}

}  // namespace inkstone::jinja

// Operands of expressions: literals, names, subscripts, calls, filters and tests.
#include <algorithm>
#include <cstdlib>

#include "jinja/parser.h"

namespace inkstone::jinja {
namespace {

Value ConstantText(std::string text) { return Value(Type::kString, std::make_shared<String>(std::move(text), false)); }

}  // namespace

ExprPtr Parser::ParseName(bool with_namespace) {
  const Token& token = Take();
  const std::string& name = token.text;
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    auto node = Make(Expr::Kind::kConstant, token.position);
    node->constant = Value::Bool(name == "true" || name == "True");
    return node;
  }
  if (name == "none" || name == "None") {
    auto node = Make(Expr::Kind::kConstant, token.position);
    node->constant = Value::None();
    return node;
  }
  for (Signature* function : functions_) {
    function->uses_caller |= name == "caller";
    function->uses_varargs |= name == "varargs";
    function->uses_kwargs |= name == "kwargs";
  }
  const bool is_ref = with_namespace && Current().Is(".");
  auto node = Make(is_ref ? Expr::Kind::kNamespaceRef : Expr::Kind::kName, token.position);
  node->name = name;
  if (is_ref) {
    Take();
    node->attribute = ExpectName("an attribute's name");
  }
  return node;
}

ExprPtr Parser::ParseNumber() {
  const Token& token = Take();
  auto node = Make(Expr::Kind::kConstant, token.position);
  if (token.type == TokenType::kFloat) {
    node->constant = Value::Float(std::strtod(token.text.c_str(), nullptr));
    return node;
  }
  std::string_view digits = token.text;
  Int base = 10;
  if (digits.size() > 2 && digits[0] == '0' && (digits[1] | 0x20) >= 'b') {
    base = (digits[1] | 0x20) == 'b' ? 2 : (digits[1] | 0x20) == 'o' ? 8 : 16;
    digits.remove_prefix(2);
  }
  Int value = 0;
  for (char c : digits) {
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, Int{digit}, &value)) {
      FailAt(token.position, "the integer is too large");
    }
  }
  node->constant = Value::Integer(value);
  return node;
}

ExprPtr Parser::ParsePrimary(bool with_namespace) {
  const Token& token = Current();
  switch (token.type) {
    case TokenType::kName:
      return ParseName(with_namespace);
    case TokenType::kInteger:
    case TokenType::kFloat:
      return ParseNumber();
    case TokenType::kString: {
      auto node = Make(Expr::Kind::kConstant, token.position);
      std::string text;
      while (Current().type == TokenType::kString) text += Take().text;
      node->constant = ConstantText(std::move(text));
      return node;
    }
    default:
      break;
  }
  if (token.Is("(")) {
    Take();
    ExprPtr node = ParseTuple(TupleMode::kFull, true);
    ExpectOperator(")");
    return node;
  }
  if (token.Is("[")) return ParseListLiteral();
  if (token.Is("{")) return ParseDictLiteral();
  FailExpected("an expression");
}

bool Parser::AtTupleEnd() const {
  const Token& token = Current();
  return token.type == TokenType::kOutputEnd || token.type == TokenType::kBlockEnd || token.Is(")");
}

ExprPtr Parser::ParseTuple(TupleMode mode, bool in_parentheses) {
  const Nested nested(*this);
  const Position position = Current().position;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (!AtTupleEnd()) {
    items.push_back(mode == TupleMode::kFull          ? ParseExpression()
                    : mode == TupleMode::kNoCondition ? ParseOr()
                                                      : ParsePrimary(mode == TupleMode::kPrimaryOrNamespace));
    if (!Current().Is(",")) break;
    Take();
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items[0]);
  if (!is_tuple && !in_parentheses) FailExpected("an expression");
  auto node = Make(Expr::Kind::kTuple, position);
  node->kids = std::move(items);
  return Seal(std::move(node));
}

ExprPtr Parser::ParseListLiteral() {
  auto node = Make(Expr::Kind::kList, Take().position);
  while (!Current().Is("]")) {
    if (!node->kids.empty()) {
      ExpectOperator(",");
      if (Current().Is("]")) break;
    }
    node->kids.push_back(ParseExpression());
  }
  ExpectOperator("]");
  return Seal(std::move(node));
}

ExprPtr Parser::ParseDictLiteral() {
  auto node = Make(Expr::Kind::kDict, Take().position);
  while (!Current().Is("}")) {
    if (!node->kids.empty()) {
      ExpectOperator(",");
      if (Current().Is("}")) break;
    }
    node->kids.push_back(ParseExpression());
    ExpectOperator(":");
    node->kids.push_back(ParseExpression());
  }
  ExpectOperator("}");
  return Seal(std::move(node));
}

ExprPtr Parser::ParsePostfix(ExprPtr subject) {
  while (true) {
    if (Current().Is(".") || Current().Is("[")) {
      subject = ParseSubscript(std::move(subject));
    } else if (Current().Is("(")) {
      auto node = Make(Expr::Kind::kCall, Current().position);
      node->kids.push_back(std::move(subject));
      ParseArguments(node.get());
      subject = Seal(std::move(node));
    } else {
      return subject;
    }
  }
}

ExprPtr Parser::ParseFilters(ExprPtr subject) {
  while (true) {
    if (Current().Is("|")) {
      subject = ParseFilterChain(std::move(subject), false);
    } else if (Current().IsName("is")) {
      subject = ParseTest(std::move(subject));
    } else if (Current().Is("(")) {
      auto node = Make(Expr::Kind::kCall, Current().position);
      node->kids.push_back(std::move(subject));
      ParseArguments(node.get());
      subject = Seal(std::move(node));
    } else {
      return subject;
    }
  }
}

std::string Parser::DottedName(std::string_view what) {
  std::string name = ExpectName(what);
  while (SkipOperator(".")) name += "." + ExpectName(what);
  return name;
}

ExprPtr Parser::ParseFilterChain(ExprPtr subject, bool start_inline) {
  while (start_inline || Current().Is("|")) {
    if (!start_inline) Take();
    start_inline = false;
    auto node = Make(Expr::Kind::kFilter, Current().position);
    node->name = DottedName("a filter's name");
    node->function = FindFilter(node->name);
    if (node->function == nullptr && !soft_) {
      unknown_.push_back({node->position, "no filter is named '" + node->name + "'"});
    }
    node->kids.push_back(std::move(subject));
    if (Current().Is("(")) ParseArguments(node.get());
    subject = Seal(std::move(node));
  }
  return subject;
}

ExprPtr Parser::ParseTest(ExprPtr subject) {
  auto node = Make(Expr::Kind::kTest, Take().position);
  const bool negated = SkipName("not");
  node->name = DottedName("a test's name");
  node->function = FindTest(node->name);
  if (node->function == nullptr && !soft_) {
    unknown_.push_back({node->position, "no test is named '" + node->name + "'"});
  }
  node->kids.push_back(std::move(subject));
  const Token& next = Current();
  if (next.Is("(")) {
    ParseArguments(node.get());
  } else if (next.type == TokenType::kString || next.type == TokenType::kInteger || next.type == TokenType::kFloat ||
             next.Is("[") || next.Is("{") ||
             (next.type == TokenType::kName && !next.IsName("else") && !next.IsName("or") && !next.IsName("and"))) {
    if (next.IsName("is")) FailAt(next.position, "tests can't be chained with 'is'");
    const Nested nested(*this);
    node->kids.push_back(ParsePostfix(ParsePrimary(false)));
  }
  node = Seal(std::move(node));
  if (!negated) return node;
  auto inverted = Make(Expr::Kind::kNot, node->position);
  inverted->kids.push_back(std::move(node));
  return Seal(std::move(inverted));
}

ExprPtr Parser::ParseSubscript(ExprPtr object) {
  const Token& token = Take();
  if (token.text == ".") {
    if (Current().type == TokenType::kInteger) {
      auto node = Make(Expr::Kind::kItem, token.position);
      node->kids.push_back(std::move(object));
      node->kids.push_back(ParseNumber());
      return Seal(std::move(node));
    }
    auto node = Make(Expr::Kind::kAttribute, token.position);
    node->kids.push_back(std::move(object));
    node->name = ExpectName("a name or a number");
    return Seal(std::move(node));
  }
  std::vector<ExprPtr> keys;
  while (!Current().Is("]")) {
    if (!keys.empty()) ExpectOperator(",");
    keys.push_back(ParseSubscripted());
  }
  ExpectOperator("]");
  const auto is_slice = [](const ExprPtr& key) { return key->kind == Expr::Kind::kSlice && key->kids[0] == nullptr; };
  if (keys.size() == 1 && is_slice(keys[0])) {
    keys[0]->kids[0] = std::move(object);
    return Seal(std::move(keys[0]));
  }
  auto node = Make(Expr::Kind::kItem, token.position);
  node->kids.push_back(std::move(object));
  if (keys.size() == 1) {
    node->kids.push_back(std::move(keys[0]));
  } else {
    for (const ExprPtr& key : keys) {
      if (is_slice(key)) FailAt(key->position, "slices can't be combined");
    }
    auto tuple = Make(Expr::Kind::kTuple, token.position);
    tuple->kids = std::move(keys);
    node->kids.push_back(Seal(std::move(tuple)));
  }
  return Seal(std::move(node));
}

ExprPtr Parser::ParseSubscripted() {
  const Position position = Current().position;
  ExprPtr start;
  if (!Current().Is(":")) {
    start = ParseExpression();
    if (!Current().Is(":")) return start;
  }
  Take();
  auto node = Make(Expr::Kind::kSlice, position);
  node->kids.resize(4);  // the object, then start, stop and step
  node->kids[1] = std::move(start);
  const auto at_end = [this] { return Current().Is("]") || Current().Is(",") || Current().Is(":"); };
  if (!at_end()) node->kids[2] = ParseExpression();
  if (SkipOperator(":") && !at_end()) node->kids[3] = ParseExpression();
  return node;
}

void Parser::ParseArguments(Expr* call) {
  ExpectOperator("(");
  std::vector<ExprPtr> named;
  bool first = true;
  while (!Current().Is(")")) {
    if (!first) {
      ExpectOperator(",");
      if (Current().Is(")")) break;
    }
    first = false;
    const auto has = [call](std::string_view k) { return std::ranges::count(call->keywords, k) > 0; };
    if (Current().Is("*") || Current().Is("**")) {
      const Token& star = Take();
      if (has(star.text) || has("**")) FailAt(star.position, "invalid arguments of a call");
      call->keywords.push_back(star.text);
      named.push_back(ParseExpression());
    } else if (Current().type == TokenType::kName && Look().Is("=")) {
      const Token& name = Take();
      if (has("**") || has(name.text)) FailAt(name.position, "invalid arguments of a call");
      Take();
      call->keywords.push_back(name.text);
      named.push_back(ParseExpression());
    } else {
      if (!call->keywords.empty()) FailAt(Current().position, "a positional argument follows a named one");
      call->kids.push_back(ParseExpression());
    }
  }
  ExpectOperator(")");
  for (ExprPtr& value : named) call->kids.push_back(std::move(value));
}

}  // namespace inkstone::jinja

// Splits a template into tokens as jinja2 does with trim_blocks and lstrip_blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "jinja/ast.h"

namespace inkstone::jinja {

enum class TokenType {
  kText,
  kOutputBegin,
  kOutputEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenType type = TokenType::kEnd;
  Position position;
  std::string text;  // unescaped text of strings; the characters of everything else
  bool Is(std::string_view op) const { return type == TokenType::kOperator && text == op; }
  bool IsName(std::string_view name) const { return type == TokenType::kName && text == name; }
};

// A failure at a known place in the template.
struct SyntaxError {
  Position position;
  std::string message;
};

// Throws SyntaxError. The last token is kEnd.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace inkstone::jinja

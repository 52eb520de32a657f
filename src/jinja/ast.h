// The syntax tree of a template: immutable once parsed, shared by all renderings.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "jinja/runtime.h"

namespace inkstone::jinja {

struct Position {
  int line = 1;
  int column = 1;  // in bytes, from 1
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class CompareOp { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

struct Expr {
  enum class Kind {
    kConstant,
    kName,
    kNamespaceRef,  // a.b as the target of an assignment
    kList,
    kTuple,
    kDict,  // keys and values alternate
    kConcat,
    kBinary,
    kNegate,
    kPositive,
    kNot,
    kAnd,
    kOr,
    kCompare,    // operands; `compare` holds one operator less
    kCondition,  // test, then, else (perhaps null)
    kAttribute,
    kItem,
    kSlice,   // object, start, stop, step (perhaps null)
    kCall,    // callee, arguments
    kFilter,  // subject (null in a filter block), arguments
    kTest,    // subject, arguments
  };
  Kind kind = Kind::kConstant;
  Position position;
  int depth = 1;          // of the tree below, bounded by the parser
  std::string name;       // of a name, attribute, filter or test; namespace of a kNamespaceRef
  std::string attribute;  // of a kNamespaceRef
  Value constant;
  Operator op = Operator::kAdd;
  std::vector<CompareOp> compare;
  std::vector<ExprPtr> kids;
  // Calls, filters and tests: kids[1 ..] are the arguments, the last `keywords.size()` of them by name. A keyword "*"
  // spreads a list and "**" a dict.
  std::vector<std::string> keywords;
  Function function = nullptr;  // of a filter or test; null: unknown, fails when evaluated
};

struct Parameter {
  std::string name;
  ExprPtr default_value;  // null: required
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

// What a macro takes, and which of the special names its body uses.
struct Signature {
  std::vector<Parameter> parameters;
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
};

struct Stmt {
  enum class Kind {
    kText,
    kOutput,    // exprs are printed
    kIf,        // exprs[i] guards bodies[i]; one more body is the else
    kFor,       // exprs: target, iterable, filter (perhaps null); bodies: loop, else
    kSet,       // exprs: target, value
    kSetBlock,  // exprs: target, filter (perhaps null)
    kMacro,
    kCallBlock,    // exprs: the call
    kFilterBlock,  // exprs: the filter chain
    kWith,         // exprs: target, value, ...
    kBlock,        // a named block or a generation block: a scope of its own
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  Position position;
  std::string text;  // of kText; name of a macro
  bool recursive = false;
  std::vector<ExprPtr> exprs;
  std::vector<Body> bodies;
  Signature signature;
};

struct Template {
  std::string name;
  Body body;
};

}  // namespace inkstone::jinja

// The tree of a parsed template. Plain data, read-only once parsed; its depth is bounded by kMaxNesting and kMaxLevels.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/jinja_value.h"

namespace loci::jinja {

inline constexpr int kMaxNesting = 100;  // of brackets and blocks, as the parser counts them
inline constexpr int kMaxLevels = 200;   // of an expression's tree, where a + b + c has two
inline constexpr size_t kMaxSourceBytes = size_t{1} << 20;

enum class ExpressionKind {
  kLiteral,    // value
  kName,       // name
  kList,       // children
  kTuple,      // children
  kDict,       // children: key, value, key, value, ...
  kUnary,      // name: "-", "+", "not"; children: one
  kBinary,     // name: + - * / // % ** and or; children: two
  kConcat,     // a ~ b ~ c; children
  kCompare,    // children a, b, c, ...; operators between them
  kCondition,  // children: then, condition, [else]
  kAttribute,  // a.name
  kIndex,      // a[b]
  kSlice,      // a[b:c:d]; children: a, b, c, d, absent ones null
  kCall,       // children: callee, positional arguments...; named
  kFilter,     // a | name(...); children: a, positional arguments...; named
  kTest,       // a is name(...); children: a, positional arguments...
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  ExpressionKind kind = ExpressionKind::kLiteral;
  int line = 0;
  int depth = 1;
  Value value;
  std::string name;
  std::vector<ExpressionPtr> children;
  std::vector<std::string> operators;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

enum class StatementKind {
  kText,      // text
  kOutput,    // expression
  kIf,        // expression, body, otherwise
  kFor,       // targets, expression, filter, body, otherwise
  kSet,       // targets, expression
  kSetBlock,  // targets, body, filters around it in `expression` (whose innermost operand is the captured text)
  kWith,      // targets and values in pairs; body
  kMacro,     // macro
  kFilter,    // expression as in kSetBlock, body
  kGroup,     // body: what a generation block holds
  kBreak,
  kContinue,
};

// A name, or one attribute of a namespace.
struct Target {
  std::string name;
  std::string attribute;  // empty: the name itself
};

struct Statement;
using Body = std::vector<Statement>;

struct Macro {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // with defaults, or null
  Body body;
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 0;
  std::string text;
  std::vector<Target> targets;
  ExpressionPtr expression;
  ExpressionPtr filter;
  std::vector<ExpressionPtr> values;
  std::unique_ptr<Macro> macro;
  Body body;
  Body otherwise;
};

// kUnsupported names the construct and the line where `source` leaves the language; kLimit if it is too large or too
// deep.
Result<Body> parse(std::string_view source);

// The name that stands for the captured text inside kSetBlock and kFilter expressions; no template can write it.
inline constexpr std::string_view kCaptured = "|captured";

}  // namespace loci::jinja

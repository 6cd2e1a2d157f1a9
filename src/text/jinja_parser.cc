#include "text/jinja_parser.h"

#include <algorithm>

namespace loci::jinja {
namespace {

std::string shown(const Token& token) {
  switch (token.kind) {
    case TokenKind::kEnd:
      return "the end of the template";
    case TokenKind::kOutputEnd:
      return "'}}'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    default:
      return fmt::format("'{}'", token.text.substr(0, 40));
  }
}

template <typename... Ptr>
std::vector<ExpressionPtr> children_of(Ptr... ptr) {
  std::vector<ExpressionPtr> out;
  (out.push_back(std::move(ptr)), ...);
  return out;
}

}  // namespace

Error ExpressionParser::error(std::string_view what) const {
  return fail(ErrorCode::kUnsupported, "chat template, line {}: {}", peek().line, what);
}

Error ExpressionParser::unexpected(std::string_view wanted) const {
  return error(fmt::format("{} where {} should be", shown(peek()), wanted));
}

Status ExpressionParser::expect_operator(std::string_view text) {
  if (accept_operator(text)) return {};
  return unexpected(fmt::format("'{}'", text));
}

Result<std::string> ExpressionParser::expect_identifier(std::string_view what) {
  if (peek().kind != TokenKind::kName) return unexpected(what);
  return tokens_[at_++].text;
}

Status ExpressionParser::check_nesting() const {
  if (nesting_ <= kMaxNesting) return {};
  return fail(ErrorCode::kLimit, "chat template, line {}: nested more than {} deep", peek().line, kMaxNesting);
}

// Every node is made here, so that no tree is deeper than the evaluator's stack can bear.
Result<ExpressionPtr> ExpressionParser::node(ExpressionKind kind, int line, std::vector<ExpressionPtr> children,
                                             std::string name) {
  auto out = std::make_unique<Expression>();
  out->kind = kind;
  out->line = line;
  out->name = std::move(name);
  for (const ExpressionPtr& child : children) {
    if (child) out->depth = std::max(out->depth, child->depth + 1);
  }
  out->children = std::move(children);
  if (out->depth > kMaxLevels) {
    return fail(ErrorCode::kLimit, "chat template, line {}: an expression of more than {} levels", line, kMaxLevels);
  }
  return out;
}

Result<ExpressionPtr> ExpressionParser::expression_list(bool with_condition) {
  const int line = peek().line;
  LOCI_TRY(ExpressionPtr first, expression(with_condition));
  if (!at_operator(",")) return first;
  std::vector<ExpressionPtr> items = children_of(std::move(first));
  while (accept_operator(",")) {
    const bool ends = peek().kind == TokenKind::kBlockEnd || peek().kind == TokenKind::kOutputEnd || at_operator(")");
    if (ends) break;
    LOCI_TRY(ExpressionPtr item, expression(with_condition));
    items.push_back(std::move(item));
  }
  return node(ExpressionKind::kTuple, line, std::move(items));
}

// a if b else c. Without a condition, `if` belongs to the for loop around.
Result<ExpressionPtr> ExpressionParser::expression(bool with_condition) {
  const Nesting nesting(nesting_);
  LOCI_CHECK(check_nesting());
  LOCI_TRY(ExpressionPtr out, either());
  while (with_condition && at_name("if")) {
    const int line = tokens_[at_++].line;
    LOCI_TRY(ExpressionPtr condition, either());
    ExpressionPtr other;
    if (accept_name("else")) {
      LOCI_TRY(other, expression());
    }
    LOCI_TRY(out, node(ExpressionKind::kCondition, line,
                       children_of(std::move(out), std::move(condition), std::move(other))));
  }
  return out;
}

template <typename Next>
Result<ExpressionPtr> ExpressionParser::left_chain(std::initializer_list<std::string_view> operators, TokenKind kind,
                                                   Next next) {
  LOCI_TRY(ExpressionPtr left, next());
  for (;;) {
    const Token& token = peek();
    const auto found = std::find(operators.begin(), operators.end(), token.text);
    if (token.kind != kind || found == operators.end()) return left;
    ++at_;
    LOCI_TRY(ExpressionPtr right, next());
    LOCI_TRY(left, node(ExpressionKind::kBinary, token.line, children_of(std::move(left), std::move(right)),
                        std::string(*found)));
  }
}

Result<ExpressionPtr> ExpressionParser::either() {
  return left_chain({"or"}, TokenKind::kName, [this] { return both(); });
}
Result<ExpressionPtr> ExpressionParser::both() {
  return left_chain({"and"}, TokenKind::kName, [this] { return negation(); });
}
Result<ExpressionPtr> ExpressionParser::sum() {
  return left_chain({"+", "-"}, TokenKind::kOperator, [this] { return joined(); });
}
Result<ExpressionPtr> ExpressionParser::product() {
  return left_chain({"*", "/", "//", "%"}, TokenKind::kOperator, [this] { return power(); });
}
Result<ExpressionPtr> ExpressionParser::power() {
  return left_chain({"**"}, TokenKind::kOperator, [this] { return unary(true); });
}

Result<ExpressionPtr> ExpressionParser::negation() {
  const Nesting nesting(nesting_);
  LOCI_CHECK(check_nesting());
  const int line = peek().line;
  if (!accept_name("not")) return comparison();
  LOCI_TRY(ExpressionPtr operand, negation());
  return node(ExpressionKind::kUnary, line, children_of(std::move(operand)), "not");
}

Result<ExpressionPtr> ExpressionParser::comparison() {
  static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
  const int line = peek().line;
  LOCI_TRY(ExpressionPtr first, sum());
  std::vector<ExpressionPtr> operands = children_of(std::move(first));
  std::vector<std::string> operators;
  for (;;) {
    const Token& token = peek();
    const bool known = token.kind == TokenKind::kOperator &&
                       std::find(std::begin(kOperators), std::end(kOperators), token.text) != std::end(kOperators);
    if (known || at_name("in")) {
      operators.push_back(token.text);
      ++at_;
    } else if (at_name("not") && peek(1).is(TokenKind::kName, "in")) {
      operators.push_back("not in");
      at_ += 2;
    } else {
      break;
    }
    LOCI_TRY(ExpressionPtr next, sum());
    operands.push_back(std::move(next));
  }
  if (operators.empty()) return std::move(operands[0]);
  LOCI_TRY(ExpressionPtr out, node(ExpressionKind::kCompare, line, std::move(operands)));
  out->operators = std::move(operators);
  return out;
}

Result<ExpressionPtr> ExpressionParser::joined() {
  const int line = peek().line;
  LOCI_TRY(ExpressionPtr first, product());
  if (!at_operator("~")) return first;
  std::vector<ExpressionPtr> parts = children_of(std::move(first));
  while (accept_operator("~")) {
    LOCI_TRY(ExpressionPtr next, product());
    parts.push_back(std::move(next));
  }
  return node(ExpressionKind::kConcat, line, std::move(parts));
}

Result<ExpressionPtr> ExpressionParser::unary(bool with_filters) {
  const Nesting nesting(nesting_);
  LOCI_CHECK(check_nesting());
  const Token& token = peek();
  ExpressionPtr out;
  if (at_operator("-") || at_operator("+")) {
    ++at_;
    LOCI_TRY(ExpressionPtr operand, unary(false));
    LOCI_TRY(out, node(ExpressionKind::kUnary, token.line, children_of(std::move(operand)), token.text));
  } else {
    LOCI_TRY(out, primary());
  }
  LOCI_TRY(out, postfix(std::move(out)));
  return with_filters ? filters_and_tests(std::move(out)) : Parsed(std::move(out));
}

Result<ExpressionPtr> ExpressionParser::primary() {
  const Token& token = peek();
  if (token.kind == TokenKind::kName) return name_or_constant();
  if (token.kind == TokenKind::kString) return adjacent_strings();
  if (at_operator("(")) return bracketed();
  if (at_operator("[")) return list();
  if (at_operator("{")) return dict();
  if (token.kind != TokenKind::kInteger && token.kind != TokenKind::kReal) return unexpected("an expression");
  ++at_;
  LOCI_TRY(ExpressionPtr out, node(ExpressionKind::kLiteral, token.line, {}));
  out->value = token.kind == TokenKind::kInteger ? Value::integer(token.integer) : Value::real(token.real);
  return out;
}

Result<ExpressionPtr> ExpressionParser::name_or_constant() {
  const Token& token = tokens_[at_++];
  const bool is_true = token.text == "true" || token.text == "True";
  const bool is_none = token.text == "none" || token.text == "None";
  if (!is_true && !is_none && token.text != "false" && token.text != "False") {
    return node(ExpressionKind::kName, token.line, {}, token.text);
  }
  LOCI_TRY(ExpressionPtr out, node(ExpressionKind::kLiteral, token.line, {}));
  out->value = is_none ? Value::none() : Value::boolean(is_true);
  return out;
}

Result<ExpressionPtr> ExpressionParser::adjacent_strings() {
  LOCI_TRY(ExpressionPtr out, node(ExpressionKind::kLiteral, peek().line, {}));
  std::string text;
  while (peek().kind == TokenKind::kString) text += tokens_[at_++].text;
  out->value = Value::text(std::move(text));
  return out;
}

Result<ExpressionPtr> ExpressionParser::bracketed() {
  const int line = tokens_[at_++].line;
  if (accept_operator(")")) return node(ExpressionKind::kTuple, line, {});
  LOCI_TRY(ExpressionPtr out, expression_list());
  LOCI_CHECK(expect_operator(")"));
  return out;
}

Result<ExpressionPtr> ExpressionParser::list() {
  const int line = tokens_[at_++].line;
  std::vector<ExpressionPtr> items;
  while (!accept_operator("]")) {
    if (!items.empty()) LOCI_CHECK(expect_operator(","));
    if (accept_operator("]")) break;
    LOCI_TRY(ExpressionPtr item, expression());
    items.push_back(std::move(item));
  }
  return node(ExpressionKind::kList, line, std::move(items));
}

Result<ExpressionPtr> ExpressionParser::dict() {
  const int line = tokens_[at_++].line;
  std::vector<ExpressionPtr> items;
  while (!accept_operator("}")) {
    if (!items.empty()) LOCI_CHECK(expect_operator(","));
    if (accept_operator("}")) break;
    LOCI_TRY(ExpressionPtr key, expression());
    LOCI_CHECK(expect_operator(":"));
    LOCI_TRY(ExpressionPtr value, expression());
    items.push_back(std::move(key));
    items.push_back(std::move(value));
  }
  return node(ExpressionKind::kDict, line, std::move(items));
}

Result<ExpressionPtr> ExpressionParser::postfix(ExpressionPtr operand) {
  for (;;) {
    if (at_operator(".")) {
      LOCI_TRY(operand, attribute(std::move(operand)));
    } else if (at_operator("[")) {
      LOCI_TRY(operand, subscript(std::move(operand)));
    } else if (at_operator("(")) {
      LOCI_TRY(operand, call(std::move(operand)));
    } else {
      return operand;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::attribute(ExpressionPtr operand) {
  const int line = tokens_[at_++].line;
  if (peek().kind == TokenKind::kInteger) {  // a.0 is a[0]
    LOCI_TRY(ExpressionPtr index, primary());
    return node(ExpressionKind::kIndex, line, children_of(std::move(operand), std::move(index)));
  }
  LOCI_TRY(std::string name, expect_identifier("the name of an attribute"));
  return node(ExpressionKind::kAttribute, line, children_of(std::move(operand)), std::move(name));
}

Result<ExpressionPtr> ExpressionParser::subscript(ExpressionPtr operand) {
  const int line = tokens_[at_++].line;
  ExpressionPtr bounds[3];
  size_t colons = 0;
  while (!at_operator("]")) {
    if (accept_operator(":")) {
      if (++colons > 2) return error("a slice has at most three parts");
    } else {
      if (bounds[colons]) return unexpected("']'");
      LOCI_TRY(bounds[colons], expression());
    }
  }
  ++at_;
  if (colons > 0) {
    return node(ExpressionKind::kSlice, line,
                children_of(std::move(operand), std::move(bounds[0]), std::move(bounds[1]), std::move(bounds[2])));
  }
  if (!bounds[0]) return error("[] without an index");
  return node(ExpressionKind::kIndex, line, children_of(std::move(operand), std::move(bounds[0])));
}

Result<ExpressionPtr> ExpressionParser::filters_and_tests(ExpressionPtr operand) {
  for (;;) {
    if (accept_operator("|")) {
      LOCI_TRY(operand, filter(std::move(operand)));
    } else if (at_name("is")) {
      LOCI_TRY(operand, test(std::move(operand)));
    } else if (at_operator("(")) {
      LOCI_TRY(operand, call(std::move(operand)));
    } else {
      return operand;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::filters(ExpressionPtr operand) {
  while (accept_operator("|")) {
    LOCI_TRY(operand, filter(std::move(operand)));
  }
  return operand;
}

Result<ExpressionPtr> ExpressionParser::filter(ExpressionPtr operand) {
  const int line = peek().line;
  LOCI_TRY(std::string name, expect_identifier("the name of a filter"));
  if (!filter_exists(name)) return error(fmt::format("the filter '{}' is not supported", name));
  LOCI_TRY(ExpressionPtr out, node(ExpressionKind::kFilter, line, children_of(std::move(operand)), std::move(name)));
  if (at_operator("(")) LOCI_CHECK(arguments(*out));
  return out;
}

// a is b, a is not b, a is b(c), a is b c.
Result<ExpressionPtr> ExpressionParser::test(ExpressionPtr operand) {
  const int line = tokens_[at_++].line;
  const bool negated = accept_name("not");
  LOCI_TRY(std::string name, expect_identifier("the name of a test"));
  if (!test_exists(name)) return error(fmt::format("the test '{}' is not supported", name));
  LOCI_TRY(ExpressionPtr out, node(ExpressionKind::kTest, line, children_of(std::move(operand)), std::move(name)));
  const Token& token = peek();
  const bool word = token.kind == TokenKind::kName && token.text != "else" && token.text != "or" &&
                    token.text != "and" && token.text != "is" && token.text != "if" && token.text != "in" &&
                    token.text != "not";
  const bool value =
      token.kind == TokenKind::kString || token.kind == TokenKind::kInteger || token.kind == TokenKind::kReal;
  if (at_operator("(")) {
    LOCI_CHECK(arguments(*out));
  } else if (word || value || at_operator("[") || at_operator("{")) {
    LOCI_TRY(ExpressionPtr argument, primary());
    LOCI_TRY(argument, postfix(std::move(argument)));
    out->depth = std::max(out->depth, argument->depth + 1);
    out->children.push_back(std::move(argument));
  }
  if (!negated) return out;
  return node(ExpressionKind::kUnary, line, children_of(std::move(out)), "not");
}

Result<ExpressionPtr> ExpressionParser::call(ExpressionPtr callee) {
  LOCI_TRY(ExpressionPtr out, node(ExpressionKind::kCall, peek().line, children_of(std::move(callee))));
  LOCI_CHECK(arguments(*out));
  return out;
}

Status ExpressionParser::arguments(Expression& call) {
  ++at_;
  for (bool first = true; !accept_operator(")"); first = false) {
    if (!first) {
      LOCI_CHECK(expect_operator(","));
      if (accept_operator(")")) break;
    }
    if (at_operator("*") || at_operator("**")) return error("unpacking arguments with * is not supported");
    std::string name;
    if (peek().kind == TokenKind::kName && peek(1).is(TokenKind::kOperator, "=")) {
      name = peek().text;
      at_ += 2;
    }
    LOCI_TRY(ExpressionPtr value, expression());
    call.depth = std::max(call.depth, value->depth + 1);
    if (name.empty()) {
      if (!call.named.empty()) return error("a positional argument after a named one");
      call.children.push_back(std::move(value));
    } else {
      call.named.emplace_back(std::move(name), std::move(value));
    }
  }
  if (call.depth <= kMaxLevels) return {};
  return fail(ErrorCode::kLimit, "chat template, line {}: an expression of more than {} levels", call.line, kMaxLevels);
}

}  // namespace loci::jinja

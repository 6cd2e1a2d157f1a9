// The two halves of the parser: expressions, and the statements built of them. Recursive descent, bounded by
// kMaxNesting.
#pragma once

#include <vector>

#include "text/jinja_lexer.h"
#include "text/jinja_syntax.h"

namespace loci::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  using Parsed = Result<ExpressionPtr>;

  Parsed expression(bool with_condition = true);
  // a, b, c without brackets is a tuple; one alone is itself.
  Parsed expression_list(bool with_condition = true);
  Parsed filter(ExpressionPtr operand);   // a or a(b), after the bar
  Parsed filters(ExpressionPtr operand);  // any number of | a

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool at_operator(std::string_view text) const { return peek().is(TokenKind::kOperator, text); }
  bool at_name(std::string_view text) const { return peek().is(TokenKind::kName, text); }
  bool accept_operator(std::string_view text) { return at_operator(text) && ++at_; }
  bool accept_name(std::string_view text) { return at_name(text) && ++at_; }
  Status expect_operator(std::string_view text);
  Result<std::string> expect_identifier(std::string_view what);
  Error error(std::string_view what) const;
  Error unexpected(std::string_view wanted) const;

  // Counts how deep the parser is in itself.
  struct Nesting {
    explicit Nesting(int& d) : depth(d) { ++depth; }
    ~Nesting() { --depth; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    int& depth;
  };
  Status check_nesting() const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;

 private:
  Parsed node(ExpressionKind kind, int line, std::vector<ExpressionPtr> children, std::string name = "");
  Parsed either();      // or
  Parsed both();        // and
  Parsed negation();    // not
  Parsed comparison();  // == != < <= > >= in, not in
  Parsed sum();         // + -
  Parsed joined();      // ~
  Parsed product();     // * / // %
  Parsed power();       // **
  Parsed unary(bool with_filters);
  Parsed primary();
  Parsed name_or_constant();
  Parsed adjacent_strings();
  Parsed bracketed();
  Parsed list();
  Parsed dict();
  Parsed postfix(ExpressionPtr operand);
  Parsed attribute(ExpressionPtr operand);
  Parsed subscript(ExpressionPtr operand);
  Parsed filters_and_tests(ExpressionPtr operand);
  Parsed test(ExpressionPtr operand);
  Parsed call(ExpressionPtr callee);
  Status arguments(Expression& call);
  template <typename Next>
  Parsed left_chain(std::initializer_list<std::string_view> operators, TokenKind kind, Next next);
};

}  // namespace loci::jinja

// The statements of a template, and parse().
#include <algorithm>

#include "text/jinja_parser.h"

namespace loci::jinja {
namespace {

class StatementParser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Body> program() {
    LOCI_TRY(Body body, body_until({}));
    if (peek().kind == TokenKind::kBlockBegin) {
      return error(fmt::format("'{}' closes nothing that is open", peek(1).text));
    }
    return body;
  }

 private:
  // Statements up to a block that begins with one of `ends`, which is left to the caller (at its name); or the end.
  Result<Body> body_until(std::initializer_list<std::string_view> ends) {
    const Nesting nesting(nesting_);
    LOCI_CHECK(check_nesting());
    Body body;
    for (;;) {
      const Token& token = peek();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() == 0) return body;
        return error(fmt::format("the template ends where '{}' should be", *(ends.end() - 1)));
      }
      if (token.kind == TokenKind::kText) {
        body.push_back(statement(StatementKind::kText, token.line));
        body.back().text = token.text;
        ++at_;
      } else if (token.kind == TokenKind::kOutputBegin) {
        LOCI_TRY(Statement output, parse_output());
        body.push_back(std::move(output));
      } else {
        const std::string& name = peek(1).text;
        if (std::find(ends.begin(), ends.end(), name) != ends.end()) {
          ++at_;
          return body;
        }
        if (is_end(name)) return body;
        LOCI_TRY(Statement block, parse_block());
        body.push_back(std::move(block));
      }
    }
  }

  static bool is_end(const std::string& name) { return name == "else" || name == "elif" || name.rfind("end", 0) == 0; }

  static Statement statement(StatementKind kind, int line) {
    Statement out;
    out.kind = kind;
    out.line = line;
    return out;
  }

  Status end_block() {
    if (peek().kind != TokenKind::kBlockEnd) return unexpected("'%}'");
    ++at_;
    return {};
  }

  // A body and the block that closes it.
  Result<Body> body_to_end(std::string_view end) {
    LOCI_TRY(Body body, body_until({end}));
    if (!accept_name(end)) return unexpected_block(end);
    accept_block_name(end);
    LOCI_CHECK(end_block());
    return body;
  }

  Error unexpected_block(std::string_view wanted) const {
    return error(
        fmt::format("'{}' where '{}' should be", peek(peek().kind == TokenKind::kBlockBegin ? 1 : 0).text, wanted));
  }

  // {% endmacro name %} may repeat the name.
  void accept_block_name(std::string_view end) {
    if (end == "endmacro" && peek().kind == TokenKind::kName) ++at_;
  }

  Result<Statement> parse_output() {
    Statement out = statement(StatementKind::kOutput, tokens_[at_++].line);
    LOCI_TRY(out.expression, expression_list());
    if (peek().kind != TokenKind::kOutputEnd) return unexpected("'}}'");
    ++at_;
    return out;
  }

  Result<Statement> parse_block() {
    const int line = tokens_[at_++].line;
    LOCI_TRY(const std::string name, expect_identifier("the name of a block"));
    if (name == "if") return parse_if(line);
    if (name == "for") return parse_for(line);
    if (name == "set") return parse_set(line);
    if (name == "with") return parse_with(line);
    if (name == "macro") return parse_macro(line);
    if (name == "filter") return parse_filter_block(line);
    if (name == "generation") {
      Statement out = statement(StatementKind::kGroup, line);
      LOCI_CHECK(end_block());
      LOCI_TRY(out.body, body_to_end("endgeneration"));
      return out;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) return error(fmt::format("'{}' outside of a loop", name));
      LOCI_CHECK(end_block());
      return statement(name == "break" ? StatementKind::kBreak : StatementKind::kContinue, line);
    }
    return error(fmt::format("the block '{}' is not supported", name));
  }

  // `if` and every `elif`: the rest of the chain is the `otherwise` of the one before.
  Result<Statement> parse_if(int line) {
    const Nesting nesting(nesting_);
    LOCI_CHECK(check_nesting());
    Statement out = statement(StatementKind::kIf, line);
    LOCI_TRY(out.expression, expression_list());
    LOCI_CHECK(end_block());
    LOCI_TRY(out.body, body_until({"elif", "else", "endif"}));
    const int next_line = peek().line;
    if (accept_name("elif")) {
      LOCI_TRY(Statement next, parse_if(next_line));
      out.otherwise.push_back(std::move(next));
      return out;
    }
    if (accept_name("else")) {
      LOCI_CHECK(end_block());
      LOCI_TRY(out.otherwise, body_until({"endif"}));
    }
    if (!accept_name("endif")) return unexpected_block("endif");
    LOCI_CHECK(end_block());
    return out;
  }

  Result<Statement> parse_for(int line) {
    Statement out = statement(StatementKind::kFor, line);
    LOCI_TRY(out.targets, targets(false));
    if (!accept_name("in")) return unexpected("'in'");
    LOCI_TRY(out.expression, expression_list(false));
    if (accept_name("if")) {
      LOCI_TRY(out.filter, expression());
    }
    if (at_name("recursive")) return error("recursive loops are not supported");
    LOCI_CHECK(end_block());
    ++loops_;
    LOCI_TRY(out.body, body_until({"else", "endfor"}));
    --loops_;
    if (accept_name("else")) {
      LOCI_CHECK(end_block());
      LOCI_TRY(out.otherwise, body_until({"endfor"}));
    }
    if (!accept_name("endfor")) return unexpected_block("endfor");
    LOCI_CHECK(end_block());
    return out;
  }

  // a, b or (a, b); with_attributes: also a.b.
  Result<std::vector<Target>> targets(bool with_attributes) {
    std::vector<Target> out;
    const bool bracket = accept_operator("(");
    do {
      Target target;
      LOCI_TRY(target.name, expect_identifier("the name of a variable"));
      if (with_attributes && accept_operator(".")) {
        LOCI_TRY(target.attribute, expect_identifier("the name of an attribute"));
      }
      out.push_back(std::move(target));
    } while (accept_operator(",") && peek().kind == TokenKind::kName && !at_name("in"));
    if (bracket) LOCI_CHECK(expect_operator(")"));
    return out;
  }

  Result<Statement> parse_set(int line) {
    Statement out = statement(StatementKind::kSet, line);
    LOCI_TRY(out.targets, targets(true));
    if (accept_operator("=")) {
      LOCI_TRY(out.expression, expression_list());
      LOCI_CHECK(end_block());
      return out;
    }
    out.kind = StatementKind::kSetBlock;
    if (out.targets.size() != 1) return error("a block is set to one name");
    LOCI_TRY(out.expression, filters(captured(line)));
    LOCI_CHECK(end_block());
    LOCI_TRY(out.body, body_to_end("endset"));
    return out;
  }

  static ExpressionPtr captured(int line) {
    auto out = std::make_unique<Expression>();
    out->kind = ExpressionKind::kName;
    out->line = line;
    out->name = kCaptured;
    return out;
  }

  Result<Statement> parse_filter_block(int line) {
    Statement out = statement(StatementKind::kFilter, line);
    LOCI_TRY(out.expression, filter(captured(line)));  // {% filter a | b %} is the text | a | b
    LOCI_TRY(out.expression, filters(std::move(out.expression)));
    LOCI_CHECK(end_block());
    LOCI_TRY(out.body, body_to_end("endfilter"));
    return out;
  }

  Result<Statement> parse_with(int line) {
    Statement out = statement(StatementKind::kWith, line);
    while (peek().kind != TokenKind::kBlockEnd) {
      if (!out.targets.empty()) LOCI_CHECK(expect_operator(","));
      Target target;
      LOCI_TRY(target.name, expect_identifier("the name of a variable"));
      LOCI_CHECK(expect_operator("="));
      LOCI_TRY(ExpressionPtr value, expression());
      out.targets.push_back(std::move(target));
      out.values.push_back(std::move(value));
    }
    LOCI_CHECK(end_block());
    LOCI_TRY(out.body, body_to_end("endwith"));
    return out;
  }

  Result<Statement> parse_macro(int line) {
    Statement out = statement(StatementKind::kMacro, line);
    out.macro = std::make_unique<Macro>();
    LOCI_TRY(out.macro->name, expect_identifier("the name of a macro"));
    LOCI_CHECK(expect_operator("("));
    while (!accept_operator(")")) {
      if (!out.macro->parameters.empty()) LOCI_CHECK(expect_operator(","));
      LOCI_TRY(std::string name, expect_identifier("the name of a parameter"));
      ExpressionPtr value;
      if (accept_operator("=")) {
        LOCI_TRY(value, expression());
      }
      out.macro->parameters.emplace_back(std::move(name), std::move(value));
    }
    LOCI_CHECK(end_block());
    const int loops = std::exchange(loops_, 0);
    LOCI_TRY(out.macro->body, body_to_end("endmacro"));
    loops_ = loops;
    return out;
  }

  int loops_ = 0;
};

}  // namespace

Result<Body> parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return fail(ErrorCode::kLimit, "the chat template has {} bytes, at most {} are allowed", source.size(),
                kMaxSourceBytes);
  }
  LOCI_TRY(std::vector<Token> tokens, tokenize(source));
  return StatementParser(std::move(tokens)).program();
}

}  // namespace loci::jinja

#include "attention/plan/syntax.h"

#include <charconv>

#include "io/printable.h"

namespace loci {
namespace {

constexpr size_t kMostBytes = 16384;
constexpr size_t kMostRanges = 64;      // of a whole plan: what they overlap with is found by trying
constexpr uint32_t kHighestId = 65535;  // of a layer or head

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_name_part(char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '_'; }

class SyntaxParser {
 public:
  explicit SyntaxParser(std::string_view text) : text_(text) {}

  Result<std::vector<ClauseText>> plan() {
    std::vector<ClauseText> out;
    while (true) {
      while (take(';')) {
      }
      if (peek() == '\0') break;
      LOCI_TRY(ClauseText one, clause());
      out.push_back(std::move(one));
      if (peek() != ';' && peek() != '\0') return unexpected("put ';' between clauses");
    }
    if (out.empty()) return fail(ErrorCode::kInvalidArgument, "attention plan: it is empty; use 'dense'");
    return out;
  }

 private:
  // The next character that is not blank; 0 at the end.
  char peek() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  Error unexpected(std::string_view remedy) {
    peek();
    const std::string_view rest = text_.substr(at_, 20);
    if (rest.empty()) {
      return fail(ErrorCode::kInvalidArgument, "attention plan: it ends too early after '{}'; {}",
                  printable(text_.substr(text_.size() > 20 ? text_.size() - 20 : 0)), remedy);
    }
    return fail(ErrorCode::kInvalidArgument, "attention plan: '{}' is not expected at character {}; {}",
                printable(rest), at_ + 1, remedy);
  }

  Result<std::string> name(std::string_view remedy) {
    if (!is_letter(peek())) return unexpected(remedy);
    const size_t begin = at_;
    while (at_ < text_.size() && is_name_part(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<ClauseText> clause() {
    ClauseText out;
    const size_t begin = at_;
    LOCI_TRY(std::string word, name("a clause is a stage, '=' and a method, or the name of a method or preset"));
    if (take('=')) {
      out.stage = std::move(word);
      do {
        LOCI_TRY(AnswerText one, answer());
        out.answers.push_back(std::move(one));
      } while (take(','));
      return out;
    }
    at_ = begin;
    AnswerText one;
    LOCI_CHECK(calls_and_scope(one));
    out.answers.push_back(std::move(one));
    return out;
  }

  Result<AnswerText> answer() {
    AnswerText out;
    const size_t begin = at_;
    LOCI_TRY(std::string word, name("the name of a method belongs here"));
    if (take(':')) {
      out.phase = std::move(word);
    } else {
      at_ = begin;
    }
    LOCI_CHECK(calls_and_scope(out));
    return out;
  }

  Status calls_and_scope(AnswerText& out) {
    do {
      LOCI_TRY(CallText one, call());
      out.calls.push_back(std::move(one));
    } while (take('+'));
    if (take('@')) LOCI_CHECK(scope(out.scope));
    return {};
  }

  Result<CallText> call() {
    CallText out;
    LOCI_TRY(out.name, name("the name of a method belongs here"));
    if (!take('(')) return out;
    if (take(')')) return out;
    do {
      LOCI_TRY(ArgumentText one, argument(out.name, out.arguments.empty()));
      out.arguments.push_back(std::move(one));
    } while (take(','));
    if (!take(')')) {
      return fail(ErrorCode::kInvalidArgument, "attention plan: the '(' after '{}' is not closed; add ')'",
                  printable(out.name));
    }
    return out;
  }

  // Everything up to the next ',', ')', '=' or ';', without blanks around it.
  std::string_view argument_word() {
    peek();
    const size_t begin = at_;
    while (at_ < text_.size() && std::string_view(",()=;").find(text_[at_]) == std::string_view::npos) ++at_;
    size_t end = at_;
    while (end > begin && is_blank(text_[end - 1])) --end;
    return text_.substr(begin, end - begin);
  }

  Result<ArgumentText> argument(const std::string& method, bool first) {
    ArgumentText out;
    out.value = argument_word();
    if (take('=')) {
      out.name = std::move(out.value);
      out.value = argument_word();
    } else if (!first && !out.value.empty()) {
      return fail(ErrorCode::kInvalidArgument,
                  "attention plan: '{}' of {} has no name; only the first value may go without: write NAME={}",
                  printable(out.value), printable(method), printable(out.value));
    }
    if (out.value.empty()) {
      return fail(ErrorCode::kInvalidArgument,
                  "attention plan: a value is missing in the parentheses of '{}'; write {}", printable(method),
                  out.name.empty() ? "NAME=VALUE" : printable(out.name) + "=VALUE");
    }
    return out;
  }

  Status scope(Scope& out) {
    const size_t begin = at_;
    if (is_digit(peek())) {
      LOCI_TRY(out.layers, numbers(false));
    }
    if (take(':')) {
      if (!take('h')) return unexpected("heads are written ':h', as in '@4-27:h0,2'");
      LOCI_TRY(out.heads, numbers(true));
    }
    if (at_ == begin) return unexpected("after '@' come layers, as in '@4-27', or heads, as in '@:h0'");
    return {};
  }

  Result<IdSet> numbers(bool heads) {
    std::vector<IdRange> out;
    do {
      if (heads) take('h');  // ":h0,h3" says what ":h0,3" says
      LOCI_TRY(const IdRange one, range());
      out.push_back(one);
      if (++ranges_ > kMostRanges) {
        return fail(ErrorCode::kInvalidArgument,
                    "attention plan: it names more than {} ranges of layers and heads; name fewer or wider ones",
                    kMostRanges);
      }
    } while (more_numbers(heads));
    return IdSet(std::move(out));
  }

  // Steps over a comma if a number follows it; another answer begins with a letter.
  bool more_numbers(bool heads) {
    const size_t begin = at_;
    if (take(',')) {
      const char next = peek();
      const bool head = heads && next == 'h' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]);
      if (is_digit(next) || head) return true;
    }
    at_ = begin;
    return false;
  }

  Result<IdRange> range() {
    IdRange out;
    LOCI_TRY(out.first, number());
    out.last = out.first;
    if (!take('-')) return out;
    out.last = IdRange::kOpen;
    if (!is_digit(peek())) return out;
    LOCI_TRY(out.last, number());
    if (out.last < out.first) {
      return fail(ErrorCode::kInvalidArgument, "attention plan: the range {}-{} runs backwards; write {}-{}", out.first,
                  out.last, out.last, out.first);
    }
    return out;
  }

  Result<uint32_t> number() {
    if (!is_digit(peek())) return unexpected("the number of a layer or head belongs here");
    uint32_t value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    at_ += static_cast<size_t>(end - begin);
    if (error == std::errc() && value <= kHighestId) return value;
    return fail(ErrorCode::kInvalidArgument, "attention plan: no layer or head has the number {}; the highest is {}",
                printable({begin, static_cast<size_t>(end - begin)}, 20), kHighestId);
  }

  std::string_view text_;
  size_t at_ = 0;
  size_t ranges_ = 0;
};

}  // namespace

Result<std::vector<ClauseText>> parse_clauses(std::string_view text) {
  if (text.size() > kMostBytes) {
    return fail(ErrorCode::kInvalidArgument, "attention plan: it has {} characters, but at most {} are read",
                text.size(), kMostBytes);
  }
  return SyntaxParser(text).plan();
}

}  // namespace loci

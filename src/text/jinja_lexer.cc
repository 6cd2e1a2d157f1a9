#include "text/jinja_lexer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>

#include "text/jinja_text.h"

namespace loci::jinja {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\v\f";

bool is_blank(std::string_view text) { return text.find_first_not_of(kSpaces) == text.npos; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

// Every newline as \n, and none at the very end.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    const bool carriage = source[i] == '\r';
    out += carriage ? '\n' : source[i];
    if (carriage && i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : storage_(std::move(source)), source_(storage_) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) LOCI_CHECK(next());
    push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  Error error(std::string_view what) const {
    return fail(ErrorCode::kUnsupported, "chat template, line {}: {}", line_, what);
  }
  bool ahead(std::string_view text) const { return source_.substr(at_, text.size()) == text; }
  void push(TokenKind kind, std::string text) {
    Token token;
    token.kind = kind;
    token.line = line_;
    token.text = std::move(text);
    tokens_.push_back(std::move(token));
  }
  void advance_to(size_t end) {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<ptrdiff_t>(at_), source_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    at_ = end;
  }

  // ---- Outside of tags ----

  size_t find_tag(size_t from) const {
    for (size_t at = source_.find('{', from); at != source_.npos; at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() && std::string_view("{%#").find(source_[at + 1]) != std::string_view::npos) return at;
    }
    return source_.size();
  }

  // The text before a tag loses its white space if the tag says so ({%-), or, before a block or a comment, what stands
  // between the line's start and the tag.
  void push_text(std::string_view text, char tag, char sign) {
    if (sign == '-') {
      text = strip(text, false, true);
    } else if (sign != '+' && tag != '{') {
      const size_t last = text.rfind('\n');
      const size_t line_start = last == text.npos ? 0 : last + 1;
      if ((line_start > 0 || line_starting_) && is_blank(text.substr(line_start))) text = text.substr(0, line_start);
    }
    if (!text.empty()) push(TokenKind::kText, std::string(text));
  }

  Status next() {
    const size_t tag_at = find_tag(at_);
    if (tag_at == source_.size()) {
      push(TokenKind::kText, std::string(source_.substr(at_)));
      advance_to(tag_at);
      return {};
    }
    const char tag = source_[tag_at + 1];
    const char sign = tag_at + 2 < source_.size() ? source_[tag_at + 2] : '\0';
    const bool has_sign = sign == '-' || sign == '+';
    push_text(source_.substr(at_, tag_at - at_), tag, sign);
    advance_to(tag_at + (has_sign ? 3 : 2));
    if (tag == '#') return skip_comment();
    if (tag == '{') return read_tag(TokenKind::kOutputBegin, TokenKind::kOutputEnd, "}}", false);
    if (is_raw_tag()) return read_raw();
    return read_tag(TokenKind::kBlockBegin, TokenKind::kBlockEnd, "%}", true);
  }

  // After a closing tag: what the next text may lose at its start.
  void close_tag(size_t end, bool strip_all, bool trim_newline) {
    if (strip_all) {
      while (end < source_.size() && kSpaces.find(source_[end]) != kSpaces.npos) ++end;
    } else if (trim_newline && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    line_starting_ = source_[end - 1] == '\n';
    advance_to(end);
  }

  Status skip_comment() {
    const size_t end = source_.find("#}", at_);
    if (end == source_.npos) return error("a comment is not closed with #}");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    close_tag(end + 2, sign == '-', sign != '+');
    return {};
  }

  // ---- {% raw %} ----

  // Past white space and `word`, if that is what follows `from`.
  std::optional<size_t> after_word(size_t from, std::string_view word) const {
    from = source_.find_first_not_of(kSpaces, from);
    if (from == source_.npos || source_.substr(from, word.size()) != word) return std::nullopt;
    from += word.size();
    if (from < source_.size() && is_name_part(source_[from])) return std::nullopt;
    return std::min(source_.find_first_not_of(kSpaces, from), source_.size());
  }

  struct End {
    size_t at = 0;  // after %}
    char sign = '\0';
  };
  std::optional<End> block_end(size_t at) const {
    End end;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) end.sign = source_[at++];
    if (source_.substr(at, 2) != "%}") return std::nullopt;
    end.at = at + 2;
    return end;
  }

  bool is_raw_tag() const {
    const auto after = after_word(at_, "raw");
    return after && block_end(*after);
  }

  Status read_raw() {
    const End opened = *block_end(*after_word(at_, "raw"));
    close_tag(opened.at, opened.sign == '-', false);  // Jinja keeps the newline here
    for (size_t at = source_.find("{%", at_); at != source_.npos; at = source_.find("{%", at + 2)) {
      const char sign = at + 2 < source_.size() ? source_[at + 2] : '\0';
      const auto after = after_word(at + (sign == '-' || sign == '+' ? 3 : 2), "endraw");
      const auto closed = after ? block_end(*after) : std::nullopt;
      if (!closed) continue;
      push_text(source_.substr(at_, at - at_), '%', sign);
      close_tag(closed->at, closed->sign == '-', closed->sign != '+');
      return {};
    }
    return error("a raw block is not closed with endraw");
  }

  // ---- Inside of tags ----

  Status read_tag(TokenKind begin, TokenKind end, std::string_view close, bool trim_newline) {
    push(begin, "");
    std::string open;  // brackets not yet closed; while there are, `}}` is two of them
    for (;;) {
      const size_t start = source_.find_first_not_of(kSpaces, at_);
      if (start == source_.npos) return error("a tag is not closed");
      advance_to(start);
      if (open.empty()) {
        const bool minus = ahead("-") && source_.substr(at_ + 1, 2) == close;
        const bool plus = trim_newline && ahead("+") && source_.substr(at_ + 1, 2) == close;
        if (minus || plus || ahead(close)) {
          push(end, "");
          close_tag(at_ + (minus || plus ? 3 : 2), minus, trim_newline && !plus);
          return {};
        }
      }
      LOCI_CHECK(read_token(open));
    }
  }

  Status read_token(std::string& open) {
    const char c = source_[at_];
    if (c == '"' || c == '\'') return read_string(c);
    if (is_digit(c)) return read_number();
    if (is_name_start(c)) {
      size_t end = at_;
      while (end < source_.size() && is_name_part(source_[end])) ++end;
      push(TokenKind::kName, std::string(source_.substr(at_, end - at_)));
      advance_to(end);
      return {};
    }
    return read_operator(open);
  }

  Status read_operator(std::string& open) {
    static constexpr std::array<std::string_view, 6> kPairs = {"//", "**", "==", "!=", ">=", "<="};
    const auto pair = std::find_if(kPairs.begin(), kPairs.end(), [&](std::string_view p) { return ahead(p); });
    const std::string_view text = pair != kPairs.end() ? *pair : source_.substr(at_, 1);
    if (text.size() == 1 && std::string_view("+-/*%~[](){}><=.:|,").find(text) == std::string_view::npos) {
      return error(fmt::format("'{}' has no meaning inside a tag", text));
    }
    if (std::string_view("([{").find(text) != std::string_view::npos)
      open += text[0] == '(' ? ')' : text[0] == '[' ? ']' : '}';
    if (std::string_view(")]}").find(text) != std::string_view::npos) {
      if (open.empty() || open.back() != text[0]) return error(fmt::format("'{}' closes nothing", text));
      open.pop_back();
    }
    push(TokenKind::kOperator, std::string(text));
    advance_to(at_ + text.size());
    return {};
  }

  Status read_number() {
    size_t end = at_;
    std::string digits;
    bool real = false;
    const auto take_digits = [&] {
      while (end < source_.size() && (is_digit(source_[end]) || source_[end] == '_')) {
        if (source_[end] != '_') digits += source_[end];
        ++end;
      }
    };
    take_digits();
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      real = true;
      digits += source_[end++];
      take_digits();
    }
    size_t power = end + 1;
    if (power < source_.size() && (source_[power] == '+' || source_[power] == '-')) ++power;
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E') && power < source_.size() &&
        is_digit(source_[power])) {
      real = true;
      (digits += 'e').append(source_.substr(end + 1, power - end - 1) == "-" ? "-" : "");
      end = power;
      take_digits();
    }
    push(real ? TokenKind::kReal : TokenKind::kInteger, digits);
    Token& token = tokens_.back();
    const char* last = digits.data() + digits.size();
    const auto result =
        real ? std::from_chars(digits.data(), last, token.real) : std::from_chars(digits.data(), last, token.integer);
    if (result.ec != std::errc()) return error(fmt::format("the number {} is too large", digits));
    advance_to(end);
    return {};
  }

  Status read_string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return error("a string is not closed");
    LOCI_TRY(std::string text, unescaped(source_.substr(at_ + 1, end - at_ - 1)));
    push(TokenKind::kString, std::move(text));
    advance_to(end + 1);
    return {};
  }

  Result<std::string> unescaped(std::string_view text) const {
    static constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 == text.size()) {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      if (const size_t known = kLetters.find(c); known != kLetters.npos) {
        out += kMeanings[known];
      } else if (c >= '0' && c <= '7') {
        size_t digits = 1;
        while (digits < 3 && i + digits < text.size() && text[i + digits] >= '0' && text[i + digits] <= '7') ++digits;
        LOCI_CHECK(append_code(out, text.substr(i, digits), 8));
        i += digits - 1;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        if (text.size() - i - 1 < digits) return error(fmt::format("the escape \\{} needs {} digits", c, digits));
        LOCI_CHECK(append_code(out, text.substr(i + 1, digits), 16));
        i += digits;
      } else if (c == 'N') {
        return error("the escape \\N{name} is not supported; write the character");
      } else if (c != '\n') {  // Python keeps an unknown escape as it stands; an escaped newline is nothing
        (out += '\\') += c;
      }
    }
    return out;
  }

  Status append_code(std::string& out, std::string_view digits, int base) const {
    uint32_t code = 0;
    const char* end = digits.data() + digits.size();
    const auto result = std::from_chars(digits.data(), end, code, base);
    if (result.ec != std::errc() || result.ptr != end ||
        !utf8proc_codepoint_valid(static_cast<utf8proc_int32_t>(code))) {
      return error(fmt::format("the escape '{}' is no character", digits));
    }
    utf8proc_uint8_t bytes[4];
    const auto count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
    out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
    return {};
  }

  std::string storage_;
  std::string_view source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) { return Lexer(normalized(source)).run(); }

}  // namespace loci::jinja

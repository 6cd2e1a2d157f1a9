// Cuts a template into tokens, white space handled as transformers sets Jinja: trim_blocks and lstrip_blocks on, one
// newline at the end of the source dropped. Linear in the source.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loci::jinja {

enum class TokenKind {
  kText,         // outside of tags
  kOutputBegin,  // {{
  kOutputEnd,    // }}
  kBlockBegin,   // {%
  kBlockEnd,     // %}
  kName,
  kString,  // `text` is what it means, escapes resolved
  kInteger,
  kReal,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;
  int64_t integer = 0;
  double real = 0;

  bool is(TokenKind k, std::string_view t) const { return kind == k && text == t; }
};

Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace loci::jinja

#include "text/word_borders.h"

#include "text/unicode.h"

namespace loci {

void WordBorders::add_token(std::string_view token) {
  char32_t previous = 0;
  for (size_t at = 0; at < token.size();) {
    if (at > 0 && token.substr(at).starts_with(marker_)) glued_.insert(previous);
    const Utf8Char c = utf8_at(token, at);
    previous = c.code;
    at += c.length;
  }
}

size_t WordBorders::first_part(std::string_view text) const {
  char32_t previous = 0;
  for (size_t at = 0; at < text.size();) {
    if (at > 0 && text.substr(at).starts_with(marker_) && !glued_.contains(previous)) return at;
    const Utf8Char c = utf8_at(text, at);
    previous = c.code;
    at += c.length;
  }
  return text.size();
}

}  // namespace loci

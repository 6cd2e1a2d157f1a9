// UTF-8 and the character classes that tokenizers ask about. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace loci {

struct Utf8Char {
  char32_t code = 0;
  uint32_t length = 1;  // bytes; of an invalid sequence, its longest prefix that could have begun a character
  bool valid = false;
};

// The character at `text[at]`; `at` < text.size().
Utf8Char utf8_at(std::string_view text, size_t at);
void append_utf8(std::string& out, char32_t code);
// Every occurrence of `what` (not empty) replaced; linear time.
std::string replace_all(std::string_view text, std::string_view what, std::string_view with);

enum class InvalidUtf8 {
  kPerSequence,  // one U+FFFD for each truncated or impossible sequence, as most decoders do
  kPerByte,      // one U+FFFD for each byte of it, as SentencePiece does
};
// `text` itself if it is valid UTF-8, otherwise a repaired copy kept in `storage`.
std::string_view valid_utf8(std::string_view text, InvalidUtf8 policy, std::string& storage);

bool is_whitespace(char32_t code);   // the Unicode property White_Space
bool is_numeric(char32_t code);      // general category N
bool is_punctuation(char32_t code);  // general category P, and all of ASCII's punctuation and symbols
bool is_word(char32_t code);         // letters, marks, decimal digits, connector punctuation, joiners

// The regular expression library knows an older Unicode than the tokenizers we must agree with. A copy of `text` in
// which every character unknown to it gives way to a known one of the same category and length, so that offsets stay;
// `text` itself if there is nothing to do.
std::string_view with_known_characters(std::string_view text, std::string& storage);

}  // namespace loci

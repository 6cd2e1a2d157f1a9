#include "text/unicode.h"

#include <utf8proc.h>

#include "text/newer_characters.h"

namespace loci {
namespace {

bool is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// General category of a character, newer ones included.
utf8proc_category_t category(char32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(known_character(code)));
}

struct Lead {
  uint32_t length;
  uint8_t second_low, second_high;  // range of the second byte: excludes overlong forms, surrogates, > U+10FFFF
};

Lead lead_of(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Char utf8_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  if (byte(0) < 0x80) return {byte(0), 1, true};
  const Lead lead = lead_of(byte(0));
  if (lead.length == 0) return {0, 1, false};
  const size_t left = text.size() - at;
  if (left < 2 || byte(1) < lead.second_low || byte(1) > lead.second_high) return {0, 1, false};
  char32_t code = byte(0) & (0x7Fu >> lead.length);
  code = (code << 6) | (byte(1) & 0x3Fu);
  for (uint32_t i = 2; i < lead.length; ++i) {
    if (i >= left || !is_continuation(byte(i))) return {0, i, false};
    code = (code << 6) | (byte(i) & 0x3Fu);
  }
  return {code, lead.length, true};
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

std::string replace_all(std::string_view text, std::string_view what, std::string_view with) {
  std::string out;
  size_t from = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, from)) {
    out += text.substr(from, at - from);
    out += with;
    from = at + what.size();
  }
  out += text.substr(from);
  return out;
}

std::string_view valid_utf8(std::string_view text, InvalidUtf8 policy, std::string& storage) {
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Char c = utf8_at(text, at);
    if (!c.valid) break;
    at += c.length;
  }
  if (at == text.size()) return text;
  storage.assign(text.substr(0, at));
  while (at < text.size()) {
    const Utf8Char c = utf8_at(text, at);
    const size_t length = !c.valid && policy == InvalidUtf8::kPerByte ? 1 : c.length;
    storage += c.valid ? text.substr(at, length) : std::string_view("\xEF\xBF\xBD");
    at += length;
  }
  return storage;
}

bool is_whitespace(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool is_numeric(char32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  // Unicode 17, by which the reference tells digits though its expressions know 16.
  if ((code >= 0x11DE0 && code <= 0x11DE9) || (code >= 0x16FF4 && code <= 0x16FF6)) return true;
  const utf8proc_category_t c = category(code);
  return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t code) {
  if (code < 0x80)
    return code > 0x20 && code < 0x7F && !((code | 0x20) >= 'a' && (code | 0x20) <= 'z') && !is_numeric(code);
  const utf8proc_category_t c = category(code);
  return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

bool is_word(char32_t code) {
  const utf8proc_category_t c = category(code);
  const bool letter_or_mark = c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_ME;
  // Circled letters are alphabetic by property, though symbols by category.
  const bool circled = (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
                       (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
  return letter_or_mark || circled || c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL ||
         c == UTF8PROC_CATEGORY_PC || code == 0x200C || code == 0x200D;
}

std::string_view with_known_characters(std::string_view text, std::string& storage) {
  bool copied = false;
  for (size_t at = 0; at < text.size();) {
    if (static_cast<uint8_t>(text[at]) < 0xE0) {  // characters of one and two bytes have long been assigned
      ++at;
      continue;
    }
    const Utf8Char c = utf8_at(text, at);
    const char32_t known = c.valid ? known_character(c.code) : c.code;
    if (known != c.code) {
      if (!copied) storage.assign(text);
      copied = true;
      std::string bytes;
      append_utf8(bytes, known);
      storage.replace(at, c.length, bytes);
    }
    at += c.length;
  }
  return copied ? std::string_view(storage) : text;
}

}  // namespace loci

#include "text/jinja_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

namespace loci::jinja {
namespace {

struct Character {
  int32_t code = -1;  // -1: not UTF-8
  size_t bytes = 1;
};

Character decode(std::string_view text, size_t at) {
  int32_t code = -1;
  const auto* data = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at;
  const auto got = utf8proc_iterate(data, static_cast<utf8proc_ssize_t>(std::min<size_t>(text.size() - at, 4)), &code);
  if (got <= 0) return {};
  return {code, static_cast<size_t>(got)};
}

void append_code(std::string& out, int32_t code) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(code, bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
}

// `change(code, index)` gives the new code for every character; bytes that are no UTF-8 stay.
template <typename Change>
std::string mapped(std::string_view text, Change&& change) {
  std::string out;
  out.reserve(text.size());
  size_t index = 0;
  for (size_t at = 0; at < text.size(); ++index) {
    const Character c = decode(text, at);
    if (c.code < 0) {
      out += text[at];
    } else {
      append_code(out, change(c.code, index));
    }
    at += c.bytes;
  }
  return out;
}

bool is_cased(int32_t code) {
  const auto category = utf8proc_category(code);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

bool is_printable(int32_t code) {
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return code == ' ';
    default:
      return true;
  }
}

std::string escaped_code(int32_t code) {
  if (code < 0x100) return fmt::format("\\x{:02x}", code);
  return code < 0x10000 ? fmt::format("\\u{:04x}", code) : fmt::format("\\U{:08x}", code);
}

template <typename InSet>
std::string_view strip_if(std::string_view text, bool left, bool right, InSet&& in_set) {
  while (left && !text.empty()) {
    const size_t bytes = character_bytes(text, 0);
    if (!in_set(text.substr(0, bytes))) break;
    text.remove_prefix(bytes);
  }
  while (right && !text.empty()) {
    size_t at = text.size() - 1;
    for (int i = 0; i < 3 && at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80; ++i) --at;
    if (at + character_bytes(text, at) != text.size()) at = text.size() - 1;  // not the start of one whole character
    if (!in_set(text.substr(at))) break;
    text.remove_suffix(text.size() - at);
  }
  return text;
}

}  // namespace

size_t character_bytes(std::string_view text, size_t at) { return decode(text, at).bytes; }

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) at += character_bytes(text, at);
  return count;
}

std::vector<size_t> character_offsets(std::string_view text) {
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at += character_bytes(text, at)) offsets.push_back(at);
  offsets.push_back(text.size());
  return offsets;
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

std::string_view strip(std::string_view text, bool left, bool right) {
  return strip_if(text, left, right, [](std::string_view one) {
    const Character c = decode(one, 0);
    return c.code >= 0 && is_space(static_cast<char32_t>(c.code));
  });
}

std::string_view strip(std::string_view text, std::string_view set, bool left, bool right) {
  std::vector<std::string_view> characters;
  for (size_t at = 0; at < set.size(); at += character_bytes(set, at)) {
    characters.push_back(set.substr(at, character_bytes(set, at)));
  }
  std::sort(characters.begin(), characters.end());
  return strip_if(text, left, right,
                  [&](std::string_view one) { return std::binary_search(characters.begin(), characters.end(), one); });
}

std::string upper(std::string_view text) {
  return mapped(text, [](int32_t code, size_t) { return utf8proc_toupper(code); });
}

std::string lower(std::string_view text) {
  return mapped(text, [](int32_t code, size_t) { return utf8proc_tolower(code); });
}

std::string capitalize(std::string_view text) {
  return mapped(
      text, [](int32_t code, size_t index) { return index == 0 ? utf8proc_totitle(code) : utf8proc_tolower(code); });
}

std::string title(std::string_view text) {
  bool after_letter = false;
  return mapped(text, [&](int32_t code, size_t) {
    const int32_t out = after_letter ? utf8proc_tolower(code) : utf8proc_totitle(code);
    after_letter = is_cased(code);
    return out;
  });
}

std::string title_words(std::string_view text) {
  bool in_word = false;
  return mapped(text, [&](int32_t code, size_t) {
    const int32_t out = in_word ? utf8proc_tolower(code) : utf8proc_toupper(code);
    const bool opens = code < 0x80 && std::string_view("-({[<").find(static_cast<char>(code)) != std::string_view::npos;
    in_word = !opens && !is_space(static_cast<char32_t>(code));
    return out;
  });
}

// memmem, unlike string_view::find, is linear whatever the needle.
std::optional<size_t> position_of(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) return std::nullopt;
  if (needle.empty()) return from;
  const void* hit = ::memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (hit == nullptr) return std::nullopt;
  return static_cast<size_t>(static_cast<const char*>(hit) - text.data());
}

uint64_t replaced_bytes(std::string_view text, std::string_view old_text, std::string_view new_text, int64_t limit) {
  uint64_t hits = 0;
  const uint64_t most = limit < 0 ? UINT64_MAX : static_cast<uint64_t>(limit);
  if (old_text.empty()) {
    hits = std::min<uint64_t>(most, count_characters(text) + 1);
  } else {
    for (auto at = position_of(text, old_text); at && hits < most;
         at = position_of(text, old_text, *at + old_text.size()))
      ++hits;
  }
  uint64_t grown;
  if (__builtin_mul_overflow(hits, static_cast<uint64_t>(new_text.size()), &grown)) return UINT64_MAX;
  return text.size() > UINT64_MAX - grown ? UINT64_MAX : text.size() + grown;
}

std::string replace(std::string_view text, std::string_view old_text, std::string_view new_text, int64_t limit) {
  std::string out;
  size_t at = 0;
  int64_t done = 0;
  while (limit < 0 || done < limit) {
    const auto hit = position_of(text, old_text, at);
    if (!hit) break;
    out.append(text.substr(at, *hit - at)).append(new_text);
    at = *hit + old_text.size();
    ++done;
    if (!old_text.empty()) continue;
    if (at >= text.size()) break;  // an empty pattern sits before every character and at the end
    const size_t bytes = character_bytes(text, at);
    out.append(text.substr(at, bytes));
    at += bytes;
  }
  return out.append(text.substr(std::min(at, text.size())));
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator, int64_t limit, bool from_right) {
  std::vector<size_t> cuts;
  for (auto at = position_of(text, separator); at; at = position_of(text, separator, *at + separator.size()))
    cuts.push_back(*at);
  if (from_right) {  // occurrences that do not overlap, counted from the end
    cuts.clear();
    size_t end = text.size();
    while (end >= separator.size()) {
      const size_t at = text.rfind(separator, end - separator.size());
      if (at == text.npos) break;
      cuts.push_back(at);
      if (limit >= 0 && cuts.size() >= static_cast<size_t>(limit)) break;
      end = at;
    }
    std::reverse(cuts.begin(), cuts.end());
  }
  if (limit >= 0 && cuts.size() > static_cast<size_t>(limit)) {
    const auto keep = static_cast<ptrdiff_t>(limit);
    from_right ? cuts.erase(cuts.begin(), cuts.end() - keep) : cuts.erase(cuts.begin() + keep, cuts.end());
  }
  std::vector<std::string_view> out;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    out.push_back(text.substr(begin, cut - begin));
    begin = cut + separator.size();
  }
  out.push_back(text.substr(begin));
  return out;
}

std::vector<std::string_view> split_space(std::string_view text, int64_t limit, bool from_right) {
  std::vector<std::string_view> words;
  for (size_t at = 0; at < text.size();) {
    const std::string_view rest = strip(text.substr(at), true, false);
    if (rest.empty()) break;
    at = text.size() - rest.size();
    size_t end = at;
    while (end < text.size()) {
      const Character c = decode(text, end);
      if (c.code >= 0 && is_space(static_cast<char32_t>(c.code))) break;
      end += c.bytes;
    }
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  if (limit < 0 || words.size() <= static_cast<size_t>(limit) + 1) return words;
  const auto span_of = [&](std::string_view first, std::string_view last) {
    const size_t begin = static_cast<size_t>(first.data() - text.data());
    return text.substr(begin, static_cast<size_t>(last.data() - text.data()) + last.size() - begin);
  };
  const auto keep = static_cast<size_t>(limit);
  if (from_right) {
    const std::string_view head = strip(span_of(text, words[words.size() - keep - 1]), false, true);
    words.erase(words.begin(), words.end() - static_cast<ptrdiff_t>(keep));
    words.insert(words.begin(), head);
  } else {
    const std::string_view tail = span_of(words[keep], text.substr(text.size()));
    words.resize(keep);
    words.push_back(tail);
  }
  return words;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Character c = decode(text, at);
    const bool ends = (c.code >= 0x0a && c.code <= 0x0d) || (c.code >= 0x1c && c.code <= 0x1e) || c.code == 0x85 ||
                      c.code == 0x2028 || c.code == 0x2029;
    const size_t next = at + c.bytes + (c.code == '\r' && at + 1 < text.size() && text[at + 1] == '\n' ? 1 : 0);
    if (ends) {
      lines.push_back(text.substr(begin, at - begin));
      begin = next;
    }
    at = ends ? next : at + c.bytes;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string quoted(std::string_view text) {
  const bool both = text.find('\'') != text.npos && text.find('"') != text.npos;
  const char quote = text.find('\'') != text.npos && !both ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const Character c = decode(text, at);
    const std::string_view one = text.substr(at, c.bytes);
    at += c.bytes;
    if (c.code < 0) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(one[0]));
    } else if (c.code == quote || c.code == '\\') {
      out.append("\\").append(one);
    } else if (c.code == '\n' || c.code == '\r' || c.code == '\t') {
      out += c.code == '\n' ? "\\n" : c.code == '\r' ? "\\r" : "\\t";
    } else {
      is_printable(c.code) ? out.append(one) : out.append(escaped_code(c.code));
    }
  }
  return out.append(1, quote);
}

std::string json_quoted(std::string_view text, bool ascii_only) {
  static constexpr std::string_view kShort = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const Character c = decode(text, at);
    const std::string_view one = text.substr(at, c.bytes);
    at += c.bytes;
    if (const size_t known = kShort.find(one[0]); known != kShort.npos) {
      (out += '\\') += kLetters[known];
    } else if ((c.code >= 0 && c.code < 0x20) || (ascii_only && c.code == 0x7f)) {
      c.code == 0x7f ? out.append(one) : out.append(fmt::format("\\u{:04x}", c.code));
    } else if (ascii_only && c.code > 0x7f) {
      if (c.code < 0x10000) {
        out += fmt::format("\\u{:04x}", c.code);
      } else {
        out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + ((c.code - 0x10000) >> 10),
                           0xdc00 + ((c.code - 0x10000) & 0x3ff));
      }
    } else {
      out.append(one);
    }
  }
  return out += '"';
}

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string real_text(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  char buffer[64];
  const double magnitude = std::fabs(x);
  const bool plain = magnitude == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), x,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string out(buffer, end.ptr);
  if (plain && out.find('.') == out.npos) out += ".0";
  return out;
}

}  // namespace loci::jinja

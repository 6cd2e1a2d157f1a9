#include "cli/terminal_text.h"

#include <fmt/format.h>

#include <cstdint>

namespace loci {
namespace {

struct Character {
  uint32_t code = 0;
  size_t bytes = 0;  // 0: not UTF-8
};

Character next_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return {};
  uint32_t code = first & (0xffu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0u) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3fu);
  }
  const uint32_t least = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
  if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {code, length};
}

bool acts_on_terminals(uint32_t code) {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;                    // C0, DEL, C1
  if (code == 0x2028 || code == 0x2029) return true;                                // line and paragraph separators
  return (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);  // bidirectional overrides
}

std::string escape(uint32_t code) {
  if (code == '\n') return "\\n";
  if (code == '\t') return "\\t";
  if (code == '\r') return "\\r";
  return code < 0x80 ? fmt::format("\\x{:02x}", code) : fmt::format("\\u{:04x}", code);
}

// Appends the first character of `text`, made safe, and returns its bytes.
size_t append_safe(std::string& out, std::string_view text, LineBreaks breaks) {
  const Character c = next_character(text);
  if (c.bytes == 0) {
    out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    return 1;
  }
  const bool kept = breaks == LineBreaks::kKeep && (c.code == '\n' || c.code == '\t');
  if (acts_on_terminals(c.code) && !kept) {
    out += escape(c.code);
  } else {
    out += text.substr(0, c.bytes);
  }
  return c.bytes;
}

}  // namespace

std::string terminal_text(std::string_view text, LineBreaks breaks) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) text.remove_prefix(append_safe(out, text, breaks));
  return out;
}

std::string terminal_excerpt(std::string_view text, size_t characters) {
  std::string out;
  for (size_t i = 0; i < characters && !text.empty(); ++i) {
    text.remove_prefix(append_safe(out, text, LineBreaks::kEscape));
  }
  if (!text.empty()) out += "...";
  return out;
}

}  // namespace loci

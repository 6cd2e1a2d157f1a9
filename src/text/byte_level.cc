#include "text/byte_level.h"

#include <array>

#include "text/unicode.h"

namespace loci {
namespace {

// Bytes that print as themselves in Latin-1 keep their character; the others take U+0100, U+0101, ... in order.
constexpr bool prints(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

constexpr std::array<char32_t, 256> make_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    alphabet[static_cast<size_t>(byte)] = prints(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return alphabet;
}

constexpr std::array<char32_t, 256> kAlphabet = make_alphabet();
constexpr char32_t kEnd = 0x144;  // one past the last character in use

constexpr std::array<int16_t, kEnd> make_inverse() {
  std::array<int16_t, kEnd> inverse{};
  for (auto& entry : inverse) entry = -1;
  for (int byte = 0; byte < 256; ++byte) inverse[kAlphabet[static_cast<size_t>(byte)]] = static_cast<int16_t>(byte);
  return inverse;
}

constexpr std::array<int16_t, kEnd> kInverse = make_inverse();

}  // namespace

char32_t byte_level_char(uint8_t byte) { return kAlphabet[byte]; }

std::optional<std::string> from_byte_level(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  for (size_t at = 0; at < token.size();) {
    const Utf8Char c = utf8_at(token, at);
    if (!c.valid || c.code >= kEnd || kInverse[c.code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kInverse[c.code]));
    at += c.length;
  }
  return bytes;
}

std::string to_byte_level(std::string_view bytes) {
  std::string token;
  token.reserve(bytes.size() + bytes.size() / 4);
  for (char byte : bytes) append_utf8(token, kAlphabet[static_cast<uint8_t>(byte)]);
  return token;
}

}  // namespace loci

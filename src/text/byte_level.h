// The alphabet of byte-level vocabularies: each byte is written as one printable character (a space is "Ġ").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace loci {

char32_t byte_level_char(uint8_t byte);
// The bytes that `token` stands for; empty if it holds a character outside the alphabet.
std::optional<std::string> from_byte_level(std::string_view token);
std::string to_byte_level(std::string_view bytes);

}  // namespace loci

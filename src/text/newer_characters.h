// Characters assigned since Unicode 14, which Debian 12's PCRE2 knows, up to Unicode 16, which current tokenizers know.
// The table is written by tools/newer_characters.py.
#pragma once

namespace loci {

// A character of the same category and UTF-8 length that Unicode 14 has, or `code` itself if Unicode 14 has it.
char32_t known_character(char32_t code);

}  // namespace loci

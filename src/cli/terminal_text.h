// Text of models and files made safe for terminals: a model or a file must not be able to move the cursor, recolour the
// screen or reorder what is read. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace loci {

enum class LineBreaks { kKeep, kEscape };  // newline and tab

// Printable UTF-8 stays as it is; control characters, bidirectional overrides and bytes that are no UTF-8 become
// escapes
// ("\x1b", "\u202e").
std::string terminal_text(std::string_view text, LineBreaks breaks = LineBreaks::kEscape);

// At most `characters` characters of terminal_text, with "..." in place of the rest.
std::string terminal_excerpt(std::string_view text, size_t characters);

}  // namespace loci

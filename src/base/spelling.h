// What somebody who misspelt a word may have meant. Pure functions; cost is the product of the lengths per candidate.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace loci {

// Edits (insert, delete, replace a letter; swapped neighbours count as two) that turn one word into the other. Upper
// and lower case are the same letter.
size_t edit_distance(std::string_view a, std::string_view b);

// The known words nearest to `word`, in their order, if they are near enough to have been meant: no more than a third
// of its letters are wrong, or two in a short word. A beginning of at least four letters counts as near.
std::vector<std::string> nearest_words(std::string_view word, const std::vector<std::string>& known);

// "; did you mean 'a' or 'b'?", or nothing if no known word is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

}  // namespace loci

// Python's operations on strings, over UTF-8: positions count characters, and a byte that is no UTF-8 counts as one
// character. Pure functions; time is linear in the sizes of the arguments and the result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace loci::jinja {

// Bytes of the character that begins at `text[at]`.
size_t character_bytes(std::string_view text, size_t at);
size_t count_characters(std::string_view text);
// Where each character begins, and the end: count + 1 offsets.
std::vector<size_t> character_offsets(std::string_view text);

bool is_space(char32_t c);
std::string_view strip(std::string_view text, bool left, bool right);                        // white space
std::string_view strip(std::string_view text, std::string_view set, bool left, bool right);  // characters of `set`

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
// Python's str.title: a letter that follows no letter is upper case, others lower.
std::string title(std::string_view text);
// Jinja's filter: the first character of a word is upper case, others lower; words end at white space and -({[<.
std::string title_words(std::string_view text);

std::optional<size_t> position_of(std::string_view text, std::string_view needle, size_t from = 0);
// At most `limit` replacements; negative: all.
std::string replace(std::string_view text, std::string_view old_text, std::string_view new_text, int64_t limit);
// Bytes that replace() would make, saturating.
uint64_t replaced_bytes(std::string_view text, std::string_view old_text, std::string_view new_text, int64_t limit);
// At most `limit` cuts; negative: all. `separator` must not be empty.
std::vector<std::string_view> split(std::string_view text, std::string_view separator, int64_t limit, bool from_right);
std::vector<std::string_view> split_space(std::string_view text, int64_t limit, bool from_right);
// str.splitlines: without the ends of lines, and nothing after the last one.
std::vector<std::string_view> split_lines(std::string_view text);

std::string quoted(std::string_view text);                        // repr
std::string json_quoted(std::string_view text, bool ascii_only);  // json.dumps
std::string html_escaped(std::string_view text);
std::string real_text(double x);  // repr of a float

}  // namespace loci::jinja

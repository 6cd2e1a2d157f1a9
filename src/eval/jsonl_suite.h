// Questions of the user's own: a file with a JSON object a line, in LongBench's form.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "eval/suite.h"

namespace loci {

inline constexpr std::string_view kJsonlPrompt = "{context}\n\n{input}";

// Objects with "input", "context" and "answers"; other members are not read. Empty lines are skipped. kCorrupt names
// the line that is something else.
Result<std::vector<JsonlRecord>> parse_jsonl(std::string_view text);

// Unit: a byte of the context, whose middle is cut out if it is too long, between characters of UTF-8.
Sample jsonl_question(const SampleInput& input);

}  // namespace loci

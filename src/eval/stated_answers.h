// Answers that a model states in a form it was asked for, among whatever else it writes.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace loci {

// What stands in the last "\boxed{...}", or "\fbox{...}" if there is none; a second pair of braces, LaTeX's \text,
// backslashes and quotes taken away, white space collapsed (OpenCompass, NeedleBench). "None" without a box.
std::string boxed_answer(std::string_view text);

// By key, in lower case, the value of the last sentence "... value of KEY is VALUE" (PI-LLM). A value ends at the end
// of a line or at ",", ".", ";" or ":"; quotes, brackets and asterisks do not count.
std::map<std::string, std::string> stated_values(std::string_view text);
// References are such sentences, one a key.
double share_of_current_values(std::string_view answer, const std::vector<std::string>& references);

}  // namespace loci

// How alike an answer and a reference are, as LongBench measures it: values in [0, 1].
#pragma once

#include <string>
#include <string_view>

namespace loci {

// F1 of the words, once case, ASCII punctuation, articles and white space have been levelled (SQuAD's).
double word_f1(std::string_view answer, std::string_view reference);
// ROUGE-L of summaries, F with equal weights, as the Python package rouge 1.0.1 has it: sentences end at '.', words at
// white space, and a word counts once. Costs the product of the lengths.
double rouge_l(std::string_view answer, std::string_view reference);
// Of code: the first line of the answer without '`', '#' and "//" against the reference, 2 * common / total characters
// of their longest common subsequence, to a whole percent. Bytes count as characters.
double edit_similarity(std::string_view answer, std::string_view reference);

}  // namespace loci

// RULER (arXiv 2404.06654): the generators of its tasks, one function each. Equal seeds give the published code's
// prompts, but for what docs/evaluation.md names.
#pragma once

#include "eval/suite.h"

namespace loci {

// Unit: a line of noise (single_1), a word of the essay (single_2, single_3, multikey_1, multivalue, multiquery), or a
// needle that nobody asks for (multikey_2, multikey_3).
Sample niah_single_1(const SampleInput& input);
Sample niah_single_2(const SampleInput& input);
Sample niah_single_3(const SampleInput& input);
Sample niah_multikey_1(const SampleInput& input);
Sample niah_multikey_2(const SampleInput& input);
Sample niah_multikey_3(const SampleInput& input);
Sample niah_multivalue(const SampleInput& input);
Sample niah_multiquery(const SampleInput& input);

// Unit: a line of noise.
Sample variable_tracking(const SampleInput& input);
// Its worked example with so many lines of noise.
struct VtExample {
  std::string question;  // context, question and the answer's beginning
  std::vector<std::string> names;
};
VtExample variable_tracking_example(uint64_t seed, uint32_t lines);

// Unit: a distinct word.
Sample common_words(const SampleInput& input);
// Unit: a word of the text.
Sample frequent_words(const SampleInput& input);

// Unit: a document. The data's question sets are not empty.
Sample squad_question(const SampleInput& input);
Sample hotpotqa_question(const SampleInput& input);

inline constexpr std::string_view kNoise =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

}  // namespace loci

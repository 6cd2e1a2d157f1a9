// Which of two segments of a text came first? After the sequence order recall tasks (SORT, arXiv 2410.08133), with a
// wording of our own. What answers it is where the segments stood, so methods that forget places fail.
#pragma once

#include "eval/suite.h"

namespace loci {

// Unit: a word of the excerpt. Four bins of distance take turns, and in half of the prompts the first segment is B.
Sample segment_order(const SampleInput& input);

inline constexpr uint32_t kLeastExcerpt = 250;  // words, as published

}  // namespace loci

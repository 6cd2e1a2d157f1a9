// The draws of SORT, apart from its prompts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "eval/python_random.h"
#include "eval/suite_data.h"

namespace loci {

inline constexpr uint32_t kLeastSortExcerpt = 250;  // words, as published

struct SortTrial {
  size_t start = 0;     // of the excerpt, in the text
  uint32_t first = 0;   // of the segments, in the excerpt
  uint32_t second = 0;  // later than `first`
};

// An excerpt of the text, which begins anew behind its end should it be shorter, and two sentence beginnings in it
// whose distance lies in the bin, one of four. All are words; excerpt is at least kLeastSortExcerpt. The draws are
// numpy's in the published code's order.
SortTrial draw_sort_trial(const Essay& essay, MersenneTwister& numpy, uint32_t excerpt, uint32_t segment, uint32_t bin);

}  // namespace loci

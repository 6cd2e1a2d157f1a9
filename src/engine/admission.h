// Whether sequences can grow to their ends in the pages that are there: the arithmetic behind every "it fits".
//
// A claim is a sequence and how many tokens it comes to. Claims fit if at no time of their growth, in any order, the
// pool must hold more than its budget: the pages of sequences that are no claims (open sessions) stay where they are,
// pages that the prefix cache alone holds are given up, and pages shared by several holders count once. One thread at
// a time. Cost: a look at the pool's counters; where that leaves a doubt, a sort of all pages of the claims and of the
// prefix cache.
#pragma once

#include <cstdint>
#include <span>

#include "engine/core.h"

namespace loci {

struct Claim {
  const Sequence* sequence = nullptr;
  uint32_t prompt = 0;    // tokens at the end of the prompt that it reads
  uint32_t most_fed = 0;  // tokens that it has been fed at its end, those of now included
};

// OK, or kLimit with what `claims` need, what others hold and what there is. Pages of `leaving` count as free.
Status fits(const Core& core, std::span<const Claim> claims, std::span<const Claim> leaving = {});

// Pages that must be free beside those in use when the prompts of all of these end in one pass, so that what their
// plans keep can be copied, a head at a time: pages that other sequences hold too do not become free by that.
uint64_t compaction_bytes(const Core& core, std::span<const Claim> ending);

}  // namespace loci

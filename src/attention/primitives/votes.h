// Soft votes: every row of scores gives one vote, which its softmax spreads over the elements. The softmax itself is
// nowhere written down.
//
// Shapes. A job is some rows of scores: x [rows, width]; lse [rows] the logarithms of their sums of exponentials
// (log_sum_exp, softmax), -inf for a row that has no vote; to votes [width] is added, over the rows,
// exp(x[r][i] - lse[r]), or, with kMax, the largest of these and what is there remains. kMean is not meant. No two jobs
// of a call have a vote in common, and all have as many rows.
//
// Numbers. exp to 2e-7; an element is one chain over the rows in ascending order, so neither workers nor instruction
// sets change bits.
//
// Cost. One pass over the scores; runs of columns are shared among workers.
#pragma once

#include <span>

#include "attention/primitives/pool.h"
#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

struct VoteJob {
  Rows x;
  std::span<const float> lse;
  std::span<float> votes;
};

// Takes votes_scratch_bytes(rows of all jobs) of context.scratch.
void add_votes(OpContext& context, std::span<const VoteJob> jobs, Pooling pooling);
uint64_t votes_scratch_bytes(uint32_t rows);

}  // namespace loci

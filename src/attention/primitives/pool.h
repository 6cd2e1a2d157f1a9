// Pooling: over neighbours, over the rows of a group (the query heads of a KV head, the queries of a tile), over
// blocks.
//
// pool_window: out[r][i] pools x[r][i - half .. i + half], width = 2 * half + 1. Elements that do not exist count as 0
// in a mean, which divides by the width even at the borders, and not at all in a maximum. pool_rows: out[r] pools the
// rows r * group .. r * group + group - 1. pool_blocks: out[r][b] pools x[r][b * block .. (b + 1) * block), the last
// block over those that exist. Of row r the first lengths[r] elements exist (pool_rows: of every row in the group);
// what is behind them in `out` becomes 0. In and out are different arrays.
//
// Numbers. Sums add in ascending order, one chain per element of the output (in pool_blocks 16 lanes); no NaN may be
// among the elements of a maximum.
//
// Cost. One pass over the input; pool_window reads it `width` times from cache. Rows are shared among workers.
#pragma once

#include "attention/primitives/arrays.h"
#include "ops/context.h"

namespace loci {

enum class Pooling : uint8_t { kSum, kMean, kMax };

// kSum is not meant here. out [rows, width of x].
void pool_window(OpContext& context, const Rows& x, uint32_t width, Pooling pooling, Rows out, Lengths lengths = {});
// x [rows * group, n], out [rows, n]; lengths are of out's rows.
void pool_rows(OpContext& context, const Rows& x, uint32_t group, Pooling pooling, Rows out, Lengths lengths = {});
// out [rows, ceil(n / block)].
void pool_blocks(OpContext& context, const Rows& x, uint32_t block, Pooling pooling, Rows out, Lengths lengths = {});

}  // namespace loci

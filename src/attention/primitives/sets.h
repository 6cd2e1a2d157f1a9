// Sets of elements: windows, thresholds, unions, blocks, and the way between masks and lists.
//
// Shapes as in arrays.h: a mask has a bit per element of its row, a list a capacity that is known when work is planned.
// Every list comes out ascending and without repetition. Where a list is made from sets of unknown size, its capacity
// is asserted against the worst case, so it cannot overflow.
//
// Cost. Masks: one word per 64 elements; lists: linear in their elements. Rows of one call are few and short beside
// scores, so these run on the caller's thread; histogram() alone shares rows among workers.
#pragma once

#include <cstdint>
#include <span>

#include "attention/primitives/arrays.h"
#include "ops/context.h"

namespace loci {

void clear(Masks masks);

// Adds the first `first` and the last `last` of a row's elements.
void mark_window(Masks masks, uint32_t first, uint32_t last, Lengths lengths = {});
// Adds elements begin..end-1 of each row, as far as they exist.
void mark_range(Masks masks, uint32_t begin, uint32_t end, Lengths lengths = {});
// Adds what the lists hold.
void mark_lists(const Lists& lists, Masks masks);
// Replaces: element i of row r is in if x[r][i] >= thresholds[r]; NaN is out. One threshold may serve all rows.
void mark_at_least(OpContext& context, const Rows& x, std::span<const float> thresholds, Masks masks,
                   Lengths lengths = {});

// into |= from; into &= ~from.
void unite(Masks into, const Masks& from);
void subtract(Masks into, const Masks& from);
// Row r of out is the union of rows r * group .. r * group + group - 1.
void unite_rows(const Masks& masks, uint32_t group, Masks out);
// Row by row; capacity of at least the smaller of width and the sum of both capacities.
void unite(const Lists& a, const Lists& b, Lists out, uint32_t width);

// The elements of the masks; capacity of at least their width.
void list_elements(const Masks& masks, Lists out);
// Block b is in if any of elements [b * block, (b + 1) * block) is. out.width >= ceil(width / block).
void blocks_of(const Masks& masks, uint32_t block, Masks out);
// The elements of the listed blocks, as far as they exist: block b is elements [b * block, (b + 1) * block) of a row of
// `width` (or its length); capacity of at least the smaller of width and blocks.capacity * block.
void elements_of(const Lists& blocks, uint32_t block, uint32_t width, Lists out, Lengths lengths = {});

// out[r][i] = x[r][list r, i]; out.width >= the lists' capacity. Columns beyond a row's count are left as they are.
void gather(const Rows& x, const Lists& lists, Rows out);
// Row i of out = row list[i] of x: entries of one list. out.rows >= the list's capacity.
void gather_rows(const Rows& x, const Lists& lists, size_t list, Rows out);

// Counts the elements of each row in `bins` equal intervals of [low, high): counts [rows, bins]. What is below goes to
// the first, what is above to the last bin, NaN to none.
void histogram(OpContext& context, const Rows& x, float low, float high, uint32_t bins, std::span<uint32_t> counts,
               Lengths lengths = {});

}  // namespace loci

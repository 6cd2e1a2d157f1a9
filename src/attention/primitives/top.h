// Selection of the largest elements of rows: a fixed number (top_k), or as few as carry a share of the mass (top_p).
//
// Shapes. x [rows, width], of which the first lengths[r] elements of row r count. A Cut per row says what is taken: it
// is 12 bytes whatever it takes, so nothing can overflow; collect() and mark() turn cuts into lists and masks. A list
// of top_k needs a capacity of min(k, width), one of top_p the width.
//
// Ties go to the lower position; 0 and -0 are equal; NaN is below everything and taken last. The result is a function
// of the row alone.
//
// top_p takes the fewest elements, largest first, whose weights sum up to at least p times the row's; one at least.
// Weights are counted in fixed point, 2^-39 of the row's largest and up, so the order of adding does not matter; what
// is negative or NaN weighs nothing. p >= 1 takes everything.
//
// Cost. Linear: histograms of the bits of the elements from the top down (select_kernels.h), three or four passes over
// a row in cache, and one more to collect. Rows are shared among workers. Rows hold fewer than 2^24 elements.
#pragma once

#include <cstdint>
#include <span>

#include "attention/primitives/arrays.h"
#include "kernels/cpu/select/select_kernels.h"
#include "ops/context.h"

namespace loci {

void find_top_k(OpContext& context, const Rows& x, uint32_t k, std::span<Cut> cuts, Lengths lengths = {});
void find_top_p(OpContext& context, const Rows& x, double p, std::span<Cut> cuts, Lengths lengths = {});

// What the cuts take, as lists or masks of the same rows.
void collect(OpContext& context, const Rows& x, std::span<const Cut> cuts, Lists out, Lengths lengths = {});
void mark(OpContext& context, const Rows& x, std::span<const Cut> cuts, Masks out, Lengths lengths = {});

// The two in one: a row's cut never leaves the worker.
void top_k(OpContext& context, const Rows& x, uint32_t k, Lists out, Lengths lengths = {});
void top_p(OpContext& context, const Rows& x, double p, Lists out, Lengths lengths = {});

}  // namespace loci

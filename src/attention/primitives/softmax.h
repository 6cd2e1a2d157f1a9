// Softmax of rows of scores over their elements.
//
// Shapes. x [rows, width], in place; of row r the first lengths[r] elements count, what is behind them becomes 0. lse,
// if not empty, is [rows]: the logarithm of the sum of the exponentials. A row without elements, or of -inf alone,
// becomes 0 and its lse -inf: nothing is divided by nothing.
//
// Numbers. exp to 2e-7; the sum has 16 lanes (select_kernels.h): the same bits on every instruction set and for every
// number of threads.
//
// Cost. Three passes over a row that stays in cache; rows are shared among workers.
#pragma once

#include <span>

#include "attention/primitives/arrays.h"
#include "ops/context.h"

namespace loci {

void softmax(OpContext& context, Rows x, Lengths lengths = {}, std::span<float> lse = {});

}  // namespace loci

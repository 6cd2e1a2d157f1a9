// Row-local operations over many rows: fanned out to the workers when there is enough to do, run by the caller when
// not.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/checked.h"
#include "ops/context.h"

namespace loci {

// Calls body(row) for every row; `row_cost` is about the numbers a row touches.
template <typename Body>
void for_each_row(OpContext& context, size_t rows, size_t row_cost, Body&& body) {
  constexpr size_t kChunkCost = 16384;  // a few microseconds: well above the cost of handing out work
  const size_t chunk = std::max<size_t>(1, kChunkCost / std::max<size_t>(row_cost, 1));
  if (rows <= chunk) {
    for (size_t row = 0; row < rows; ++row) body(row);
    return;
  }
  context.pool.parallel_for(div_up(rows, chunk), [&](size_t i, int) {
    const size_t last = std::min((i + 1) * chunk, rows);
    for (size_t row = i * chunk; row < last; ++row) body(row);
  });
}

}  // namespace loci

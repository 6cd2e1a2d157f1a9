// The cells of a pass: what methods that judge a prompt piece by piece walk through. A pass holds whole cells of the
// absolute grid, but for a cell in which the prompt begins or ends, so what is decided on a cell's rows does not depend
// on how the prompt was cut into passes. Views of the pass; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/primitives/scores.h"
#include "attention/stages/view.h"

namespace loci {

// Positions [first, last) of the pass.
struct CellRows {
  uint32_t first;
  uint32_t last;

  uint32_t rows() const { return last - first; }
};

// What `grid` cuts positions [first, last) into.
std::vector<CellRows> cut_at(uint32_t grid, uint32_t first, uint32_t last);
inline std::vector<CellRows> cells_of(const View& view, uint32_t cell) {
  return cut_at(cell, view.first_position, view.tokens());
}

// The tiles of these rows read every page.
void take_all_pages(const View& view, size_t head_index, CellRows rows, Selection& selection);

// The mean query of each query head of a KV head over `over`, prepared for scores(): out [group, padded_dim]. Takes
// mean_queries_bytes() of scratch for the call.
void mean_queries(const View& view, const Table& table, size_t head_index, CellRows over, Rows out);
uint64_t mean_queries_bytes(const ModelShape& model);

// Scores of prepared queries against every slot of a head: out [queries, slots rounded up to 64].
void score_slots(const View& view, const Table& table, size_t head_index, const Rows& queries, Rows out);

}  // namespace loci

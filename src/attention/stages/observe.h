// What some of a pass's rows attend to: rows of attention probabilities over a table's slots, for methods that choose
// by them (votes, sinks, probes).
//
// Shapes. For KV head `head_index` of a table and rows [first, first + count) of the view: out [count * group, width]
// in the order [row][query head of the group], width = slots of the table, rounded up to 64. What a row does not see
// has probability 0. Keys are read as they are stored.
//
// Cost: one read of the head's keys per call, count * group * head_dim multiply-adds a key. Runs on all workers; takes
// observe_scratch_bytes() of the pass's scratch besides `out`.
#pragma once

#include <span>

#include "attention/primitives/scores.h"
#include "attention/stages/view.h"

namespace loci {

// Columns of rows over this table.
uint32_t observed_width(const Table& table);

// The rows' probabilities; lse, if not empty, [count * group].
void observe(const View& view, const Table& table, size_t head_index, uint32_t first, uint32_t count, Rows out,
             std::span<float> lse = {}, Products products = Products::kFp32);

uint64_t observe_scratch_bytes(const ModelShape& model, uint32_t count, int threads);

}  // namespace loci

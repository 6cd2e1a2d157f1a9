// The mean key of every full page of one head, kept in the sequence's state as tiles of 64 means and brought up to date
// when pages fill: what estimates are scored against. fp32, a 128th of kv16's keys and values.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/primitives/scores.h"
#include "attention/stages/view.h"

namespace loci {

class PageMeans {
 public:
  // Means of the table's full pages, for the heads of the table.
  static void update(const View& view, const Table& table);

  // Appends jobs that score queries [group, padded_dim] of KV head `head` against its first `pages` means. scores
  // [group, pages rounded up to 64].
  static void add_jobs(const View& view, const Table& table, KvHead head, uint32_t pages, Rows queries, Rows scores,
                       std::vector<ScoreJob>& jobs);

  // In the state, for all versions that it may hold, and in scratch.
  static uint64_t state_bytes(const ModelShape& model, uint32_t tokens);
  static uint64_t scratch_bytes(const ModelShape& model, int threads);
};

}  // namespace loci

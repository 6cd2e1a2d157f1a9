// Performs reads: softmax attention of query rows over paged, encoded entries, on all workers.
//
// The order of folding is part of the result's definition. Query rows stand in absolute tiles, whose entries are cut at
// fixed borders (tiles.h): blocks of 64, items of 512, segments of 4096. Blocks fold into their item from an empty
// state, items into their segment, segments into the row's result, each in ascending order; then what was read before,
// and an extra entry last. Workers take contiguous ranges of items (schedule.h); a worker that holds a whole segment or
// tile folds it on the spot, otherwise partial states are published and the last worker to arrive folds them in the
// same order. Hence neither neighbours, thread counts, chunk sizes nor page sharing move a rounding.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "attention/read.h"
#include "attention/schedule.h"
#include "attention/tiles.h"
#include "kernels/cpu/attention/attention_kernels.h"
#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

// Capacities of the reads of one layer, known before any content.
struct ReadBounds {
  uint32_t rows = 0;   // query rows of a batch
  uint32_t reads = 1;  // tables read at once
  uint32_t slots = 0;  // of the longest table
  uint32_t query_heads = 1;
  uint32_t kv_heads = 1;
  uint32_t head_dim = 0;
  ReadPrecision precision = ReadPrecision::kFast;
  Schedule schedule = Schedule::kStream;
};

// What the executor prepares from bounds alone.
struct WorkPlan {
  uint32_t group = 1;  // query heads per KV head
  uint32_t padded_dim = 0;
  uint32_t tile_positions = 1;  // query rows per tile of a prompt, per query head; a decode step has tiles of 1
  uint32_t tile_rows = 1;       // tile_positions * group
  uint32_t head_dim = 0;
  ReadPrecision precision = ReadPrecision::kFast;
  Schedule schedule = Schedule::kStream;
  size_t worker_bytes = 0;    // scratch of one worker
  size_t partial_floats = 0;  // of the states that can be published
  size_t scratch_bytes = 0;   // of a run, in all
};

class Executor {
 public:
  static WorkPlan plan(const ReadBounds& bounds, int threads);

  // q and out [rows, query_heads * head_dim]; each read writes its rows' heads. lse, if not empty, gets log of the
  // softmax denominator per [row, query head], `largest` the largest scaled score among the entries of these reads. A
  // row that sees nothing gives 0 and -inf. Allocates only from context.scratch.
  void run(OpContext& context, const WorkPlan& plan, std::span<const Read> reads, const Rows& q, float scale, Rows out,
           std::span<float> lse = {}, std::span<float> largest = {});
  // Since the executor was made.
  const ReadWork& work() const { return work_; }
  // The tiles of the last run.
  const TileList& tiles() const { return list_; }

  // From now on runs add to `times`, which outlives them; null: no more.
  void time(ScheduleTimes* times) { times_ = times; }

 private:
  class Worker;

  void cut_ranges(const WorkPlan& plan, int threads);
  void lay_out_states(const WorkPlan& plan);

  TileList list_;
  std::vector<ItemRange> ranges_;
  std::vector<uint32_t> segment_states_;  // of split tiles: where a segment's published states begin
  size_t arrival_count_ = 0;
  std::unique_ptr<std::atomic<uint32_t>[]> arrivals_;
  size_t arrivals_capacity_ = 0;
  size_t state_rows_ = 0;  // of a published state: the most rows of a tile
  size_t states_used_ = 0;
  ReadWork work_;
  ScheduleTimes* times_ = nullptr;

 public:
  Executor();
  ~Executor();
};

}  // namespace loci

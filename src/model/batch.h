// One forward pass: rows of any mix of prompt chunks and decode steps of several sequences, and what a layer may do
// with them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/executor.h"
#include "cache/sequence_cache.h"
#include "model/config.h"
#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

// Consecutive rows of one sequence.
struct BatchItem {
  SequenceCache* cache = nullptr;
  uint32_t first_row = 0;
  uint32_t rows = 0;
  TokenPos first_position{0};
  ReadPhase phase = ReadPhase::kPrompt;
};

class Batch {
 public:
  // Takes the rotary tables of all rows from the scratch. `items` cover the rows in order.
  Batch(OpContext& ops, const ModelConfig& config, Executor& executor, const WorkPlan& plan,
        std::span<const BatchItem> items);

  OpContext& ops() { return ops_; }
  uint32_t rows() const { return rows_; }
  // Scratch for `width` numbers per row of the batch.
  Rows take(uint32_t width) { return ops_.scratch.rows(rows_, width); }

  // Rotates q or k [rows, heads * head_dim] in place with the layer's frequencies.
  void rotate(LayerId layer, Rows x, uint32_t heads);
  // Appends k and v to the layer's cache, then reads it for every row as the plan says. [rows, query_heads * head_dim]
  Rows attend(LayerId layer, const Rows& q, const Rows& k, const Rows& v);

 private:
  void append(LayerId layer, const Rows& k, const Rows& v);

  OpContext& ops_;
  const ModelConfig& config_;
  Executor& executor_;
  const WorkPlan& plan_;
  std::span<const BatchItem> items_;
  uint32_t rows_ = 0;
  std::vector<Rows> rope_;  // cos and sin of every row, per frequency set
  std::vector<Read> reads_;
};

// Scratch that a Batch of `rows` rows takes when it is made.
size_t batch_scratch_bytes(const ModelConfig& config, size_t rows);

}  // namespace loci

// One forward pass: rows of any mix of prompt chunks and decode steps of several sequences, and what a layer may do
// with them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/executor.h"
#include "attention/stages/stages.h"
#include "attention/stages/tap.h"
#include "cache/sequence_cache.h"
#include "kernels/cpu/kv_codec/key_rounding.h"
#include "model/config.h"
#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

// Consecutive rows of one sequence, which is read under a plan of its own.
struct BatchItem {
  const Stages* stages = nullptr;
  SequenceCache* cache = nullptr;
  SequenceState* state = nullptr;
  const RequestFacts* facts = nullptr;
  uint32_t first_row = 0;
  uint32_t rows = 0;
  TokenPos first_position{0};
  Phase phase = Phase::kPrefill;
  bool prompt_ends = false;
};

// Wall time in attention: of its reads, and of all that methods do before and after these.
struct AttentionSeconds {
  double select = 0;
  double read = 0;
};

class Batch {
 public:
  // Takes scratch_bytes() of the scratch: the rotary tables of all rows, and lists. `items` cover the rows in order.
  // `tap` may be null.
  Batch(OpContext& ops, const ModelConfig& config, Executor& executor, const WorkPlan& plan,
        std::span<const BatchItem> items, Tap* tap = nullptr);
  static size_t scratch_bytes(const ModelConfig& config, size_t rows);

  OpContext& ops() { return ops_; }
  uint32_t rows() const { return rows_; }
  // Scratch for `width` numbers per row of the batch.
  Rows take(uint32_t width) { return ops_.scratch.rows(rows_, width); }

  // Rotates q or k [rows, heads * head_dim] in place with the layer's frequencies.
  void rotate(LayerId layer, Rows x, uint32_t heads);
  // Appends k and v to the layer's cache, then reads it for every row as the plan says. [rows, query_heads * head_dim]
  // `key_feedback`, of all KV heads, or null: by what 4-bit keys are rounded.
  Rows attend(LayerId layer, const Rows& q, const Rows& k, const Rows& v, const KeyFeedback* key_feedback = nullptr);

  // Shows rows to the tap, if there is one.
  void show(LayerId layer, LayerPoint point, const Rows& x) {
    if (tap_ != nullptr) tap_->on_rows(layer, point, x);
  }

  // Who looks at the reads; null: nobody.
  void watch(ReadListener* listener) { listener_ = listener; }

  // What the sequences that end their prompts in this pass keep, by item.
  std::span<const std::vector<KeptEntries>> edits() const { return edits_; }
  // Of all layers so far.
  const AttentionSeconds& attention_seconds() const { return seconds_; }

 private:
  // New entries of one head in one page: two workers never write the same page.
  struct PageWrite {
    const BatchItem* item;
    size_t table;
    uint32_t head;
    uint32_t first_row;  // of the item's
    uint32_t rows;
  };

  class ItemReader;

  void round_keys(LayerId layer, const Rows& k, const KeyFeedback& feedback);
  void append(LayerId layer, const Rows& k, const Rows& v, const KeyFeedback* key_feedback);
  LayerPass pass(size_t item, LayerId layer, const Rows& q);
  void name_reads(LayerId layer, const Rows& q);
  std::span<float> take_lse(LayerId layer);
  void after_read(LayerId layer, const Rows& q, Rows out, std::span<float> lse);

  OpContext& ops_;
  const ModelConfig& config_;
  Executor& executor_;
  const WorkPlan& plan_;
  std::span<const BatchItem> items_;
  Tap* tap_;
  uint32_t rows_ = 0;
  std::span<PageWrite> writes_;        // of a layer: one a row and head at most
  std::span<std::byte> rounded_keys_;  // of a layer: [rows][kv_heads][rounded_key_bytes]
  std::vector<Rows> rope_;             // cos and sin of every row, per frequency set
  std::vector<Read> reads_;
  std::vector<std::vector<Selection>> selections_;  // by item, of the layer that is read
  std::vector<std::vector<ExtraEntry>> extras_;     // by read
  std::vector<std::vector<KeptEntries>> edits_;     // by item
  ReadListener* listener_ = nullptr;
  std::vector<float> tapped_lse_;
  AttentionSeconds seconds_;
  double read_by_selects_ = 0;  // seconds of the layer's read
};

}  // namespace loci

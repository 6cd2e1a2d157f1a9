// What a method sees of one sequence in one layer during a forward pass, and what it may ask for.
//
// Order in a layer: the pass's entries are appended, Selects name reads, the executor reads, Mixes combine, Retains
// edit. Positions are places in the sequence, slots places in a table. Everything is valid during the call alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/primitives/scores.h"
#include "attention/read.h"
#include "attention/registry/method.h"
#include "attention/stages/model_shape.h"
#include "attention/stages/sequence_state.h"
#include "cache/sequence_cache.h"
#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

struct View {
  OpContext& ops;
  const ModelShape& model;
  const RequestFacts& facts;
  const SequenceCache& cache;
  LayerId layer{0};
  Phase phase = Phase::kPrefill;
  bool prompt_ends = false;     // the prompt's last token is in this pass
  uint32_t first_position = 0;  // of the pass's rows
  ReadPrecision precision = ReadPrecision::kFp32;
  Rows queries;                    // [rows, query_heads * head_dim], rotated, not scaled
  double* read_seconds = nullptr;  // not null: grows by what a Select spends reading
  MethodState state;               // of the method that is asked

  // For the many queries by which a method judges a prompt.
  Products products() const { return precision == ReadPrecision::kFast ? Products::kTiles : Products::kFp32; }
  uint32_t rows() const { return queries.rows; }
  uint32_t tokens() const { return first_position + queries.rows; }  // in the cache, this pass's own included
  std::span<const Table> tables() const { return cache.tables(layer); }
};

// Takes the reads that a Select names. What is not named is read as a whole.
class ReadBuilder {
 public:
  // `mine[t]`: the asked method answers for the heads of table t, which is read as a whole otherwise.
  ReadBuilder(OpContext& ops, std::vector<Selection>& selections, std::span<const bool> mine)
      : ops_(ops), selections_(selections), mine_(mine) {}

  bool mine(size_t table) const { return mine_[table]; }
  std::span<const bool> mine() const { return mine_; }

  // A selection of pages and (or) slots for a table, empty, for the view's rows; `capacity` slots a tile at most.
  Selection& select_pages(const View& view, size_t table, uint32_t tile, uint32_t parts = 1);
  Selection& select_slots(const View& view, size_t table, uint32_t tile, uint32_t parts, uint32_t capacity);
  // A selection of copies: of head h of the table, the entries at positions[h] in consecutive pages from pages[h] on.
  // Both outlive the pass's read of the layer.
  Selection& select_copies(const View& view, size_t table, std::span<const std::byte* const> pages,
                           std::span<const std::span<const uint32_t>> positions);
  // Adds room for slots to a selection of pages; `slot_tile` positions share a list, 0: those of a tile.
  void add_slots(const View& view, size_t table, uint32_t capacity, uint32_t slot_tile = 0);

 private:
  Selection& prepare(const View& view, size_t table, uint32_t tile, uint32_t parts);
  uint32_t rows(const View& view, size_t table) const;

  OpContext& ops_;
  std::vector<Selection>& selections_;  // by table; tile == 0: none
  std::span<const bool> mine_;
};

// What Retains keep after a prompt; applied when the pass is over, so this pass still reads everything.
class CacheEdit {
 public:
  explicit CacheEdit(std::vector<KvHead> heads) : heads_(std::move(heads)) {}

  // The heads that ask the method, ascending.
  std::span<const KvHead> heads() const { return heads_; }
  // Keeps `slots` (ascending) of the head's table; a head that is not named keeps everything.
  void keep(KvHead head, std::vector<SlotId> slots) { kept_.push_back({head, std::move(slots)}); }

  struct Kept {
    KvHead head;
    std::vector<SlotId> slots;
  };
  std::span<Kept> kept() { return kept_; }

 private:
  std::vector<KvHead> heads_;
  std::vector<Kept> kept_;
};

}  // namespace loci

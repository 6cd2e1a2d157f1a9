// Scores as if what a step reads stood side by side from position 0 on, with the step's query behind it: TokenSelect's
// positions (Wu et al., arXiv:2411.02886, section 3.3), which never exceed the number of tokens read.
//
// Keys are stored at the angles of their own positions; they are turned to others when they are scored.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/primitives/moved_scores.h"
#include "attention/stages/stage.h"
#include "attention/stages/view.h"

namespace loci {

class Renumbered {
 public:
  Renumbered(const ModelShape& model, uint32_t context) : model_(model), angles_(frequencies(model), context) {}

  // Of the decode step's query heads of a table, in the order of its heads, as if the query stood at position
  // `query_at` and every key of [first, last) at 0. scores [heads * group, slots].
  void score_content(const View& view, const Table& table, uint32_t query_at, uint32_t first, uint32_t last,
                     Rows scores) const;
  // Of the same against what the selection reads, which is the same of all heads, each entry at its place among these.
  void score_places(const View& view, const Table& table, const Selection& selection, Rows scores) const;

  uint64_t scratch_bytes(const StageBounds& bounds) const;

 private:
  static std::span<const double> frequencies(const ModelShape& model) { return model.rotary.inverse_frequencies; }

  // moves [whole pages], by slot; pages that are not wanted are not scored.
  void score(const View& view, const Table& table, std::span<const int32_t> moves, const std::vector<bool>& wanted,
             int64_t query_move, Rows scores) const;

  const ModelShape model_;
  AngleTable angles_;
};

}  // namespace loci

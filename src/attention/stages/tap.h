// A listener on every layer of a forward pass: calibrations look at queries, tables and head outputs there, and change
// them to measure what a head is good for. The Core hands it to the pass; nothing is computed for it when there is
// none.
//
// Called by the engine's thread, layer by layer, item by item. A tap that needs scratch brings a workspace of its own:
// the pass's is planned for the plan alone.
#pragma once

#include <span>

#include "attention/stages/view.h"
#include "cache/pattern.h"

namespace loci {

// Reads of one sequence's tables beside the main read.
class TapReader {
 public:
  virtual ~TapReader() = default;
  // o [rows, query_heads * head_dim] and lse [rows * query_heads], of the table's heads only, get the softmax over what
  // `pattern` holds of the table. Rows that see nothing: 0 and -inf.
  virtual void read(size_t table, const Pattern& pattern, Rows o, std::span<float> lse) = 0;
};

// Rows of a layer that its projections read or make.
enum class LayerPoint : uint8_t {
  kAttentionInput,    // [rows, hidden], what q, k and v multiply
  kQueries,           // [rows, query_heads * head_dim], rotated
  kKeys,              // [rows, kv_heads * head_dim], rotated
  kValues,            // [rows, kv_heads * head_dim]
  kMixed,             // [rows, query_heads * head_dim], what the output projection multiplies
  kFeedForwardInput,  // [rows, hidden], what gate and up multiply
  kGated,             // [rows, ffn], what down multiplies
};

class Tap {
 public:
  virtual ~Tap() = default;

  // Rows of all items, in the order of the points.
  virtual void on_rows(LayerId, LayerPoint, const Rows&) {}

  // The pass's entries are in the cache. Queries may be changed before they are read with: a zero query attends to
  // everything alike.
  virtual void before_read(const View&, Rows /*queries*/) {}
  // Everything has been read and mixed. o [rows, query_heads * head_dim] goes on to the output projection as it is
  // left; lse [rows * query_heads] is that of the main read.
  virtual void after_read(const View&, Rows /*o*/, std::span<float> /*lse*/, TapReader&) {}
};

}  // namespace loci

// Everything one sequence has cached: a list of tables for each layer.
//
// A forward pass of n tokens is: reserve(n); for each layer append(n), write_entry() and reads; end_pass(n); what edits
// ask for; release_passed(). Entries are encoded when they are written and read as encoded, by their own chunk too.
// abandon_pass() undoes an unfinished pass. The engine's thread calls everything but write_entry(), which workers call
// for different heads or slots.
//
// Each table has a pattern: what of it later queries read. It begins as the layer's own window; methods narrow it, for
// the rest of the sequence (what was given back cannot be read again).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "cache/ids.h"
#include "cache/page_pool.h"
#include "cache/pattern.h"
#include "cache/table.h"
#include "kernels/cpu/kv_codec/kv_codec.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

// What the cache holds for one layer of a model.
struct LayerShape {
  uint32_t kv_heads = 1;
  uint32_t head_dim = 0;
  KvCodec codec = KvCodec::kKv16;
  uint32_t window = 0;  // a query reads this many positions, its own included; 0: all before it
  // Heads that share a table from the start, each head in one of them; empty: all heads in one.
  std::vector<std::vector<KvHead>> classes = {};
};

// The layers' shapes with their page layouts and pool groups. Made once per engine; outlives every SequenceCache.
class CacheLayout {
 public:
  CacheLayout(std::vector<LayerShape> layers, PagePool& pool);

  size_t layers() const { return layers_.size(); }
  const LayerShape& shape(LayerId layer) const { return layers_[layer.value]; }
  const PageLayout& page(LayerId layer) const { return *pages_[layer.value]; }
  PageGroup group(LayerId layer, size_t head_class) const { return groups_[layer.value][head_class]; }
  PagePool& pool() const { return *pool_; }

  // Bytes of pages that a sequence of `tokens`, fed in passes of at most `span` from the page border before them, holds
  // at its peak, if nothing but the layers' own windows gives pages back.
  static uint64_t sequence_bytes(std::span<const LayerShape> layers, uint32_t tokens, uint32_t span);
  // Stripes of one table under `pattern`, likewise.
  static uint64_t stripes(const Pattern& pattern, uint32_t tokens, uint32_t span);

 private:
  std::vector<LayerShape> layers_;
  std::vector<std::unique_ptr<PageLayout>> pages_;
  std::vector<std::vector<PageGroup>> groups_;
  PagePool* pool_;
};

// One stripe of a table as others share it.
struct SharedStripe {
  PageGroup group;
  std::span<const PageId> pages;  // empty: given back
};

class SequenceCache {
 public:
  explicit SequenceCache(const CacheLayout& layout);

  SequenceCache fork() const;

  uint32_t tokens() const { return tokens_; }
  const PageLayout& page(LayerId layer) const { return layout_->page(layer); }
  std::span<const Table> tables(LayerId layer) const { return layers_[layer.value].tables; }
  const Pattern& pattern(LayerId layer, size_t table) const { return layers_[layer.value].patterns[table]; }

  // Makes room for `tokens` more in every layer. On kLimit nothing is lost and the call may be repeated.
  Status reserve(uint32_t tokens);
  // The next `tokens` positions of `layer` become slots of its tables, to be filled by write_entry.
  void append(LayerId layer, uint32_t tokens);
  // Encodes k and v [head_dim] of the entry at `position` for the table's `head_index`-th head.
  void write_entry(LayerId layer, size_t table, size_t head_index, TokenPos position, const float* k, const float* v);
  // The same of entries at `first` and the positions behind it, whose slots lie in one page.
  void write_entries(LayerId layer, size_t table, size_t head_index, TokenPos first, const NewEntries& entries);
  // All layers have appended `tokens`: they are part of the sequence now.
  void end_pass(uint32_t tokens);
  // Gives back the pages that no later query reads.
  void release_passed();
  // Forgets what an unfinished pass appended.
  void abandon_pass();

  // Forgets all but the first `tokens`. False, with nothing changed, if the shorter sequence would read what was given
  // back, or ends before an edit: it must be fed anew.
  bool trim(uint32_t tokens);
  // Back to an empty sequence.
  void clear();

  // From now on queries read `pattern` of the table, as far as it is still there.
  void narrow(LayerId layer, size_t table, const Pattern& pattern);
  // Keeps only `slots` (ascending) of these KV heads (ascending, of one table). Unless they are all of their class they
  // leave it, with a table of their own at the end of the layer's list. What is kept is read by all later queries.
  Status keep(LayerId layer, std::span<const KvHead> heads, std::span<const SlotId> slots);

  // True if every table is as it was laid out, so that stripes can be shared by prefix.
  bool shareable() const;
  // The pages of 64-token block `block`, table by table.
  std::vector<SharedStripe> block_pages(uint32_t block) const;
  // Extends an unedited sequence that ends on a block border by a shared block.
  void append_block(std::span<const SharedStripe> stripes);

  // Tables of a saved sequence, in place of those of an empty one.
  struct Saved {
    std::vector<std::vector<Table>> tables;  // by layer
    std::vector<std::vector<Pattern>> patterns;
    uint32_t tokens = 0;
    uint32_t edited = 0;
  };
  void restore(Saved saved);
  uint32_t edited() const { return edited_; }  // tokens when entries were last taken out; 0: never
  // An empty table for these heads of a layer, for restore().
  Table empty_table(LayerId layer, std::vector<KvHead> heads) const;

  uint64_t kv_bytes() const;
  uint64_t entries() const;       // that a next query would read, over all layers and heads
  uint64_t mean_entries() const;  // per KV head of a layer

 private:
  struct Layer {
    std::vector<Table> tables;
    std::vector<Pattern> patterns;
  };

  void lay_out();

  const CacheLayout* layout_;
  std::vector<Layer> layers_;
  uint32_t tokens_ = 0;
  uint32_t edited_ = 0;
};

}  // namespace loci

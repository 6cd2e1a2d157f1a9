// Everything one sequence has cached: a list of tables for each layer.
//
// A forward pass of n tokens is: reserve(n); for each layer append(n), write_entry() and reads; end_pass(n);
// release_passed(). Entries are encoded when
// they are written and read as encoded, by their own chunk too. abandon_pass() undoes an unfinished pass. The engine's
// thread calls everything but write_entry(), which workers call for different heads or slots.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "cache/ids.h"
#include "cache/page_pool.h"
#include "cache/table.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

// What the cache holds for one layer of a model.
struct LayerShape {
  uint32_t kv_heads = 1;
  uint32_t head_dim = 0;
  KvCodec codec = KvCodec::kKv16;
  uint32_t window = 0;  // a query reads this many positions, its own included; 0: all before it
};

// The layers' shapes with their page layouts and pool groups. Made once per engine; outlives every SequenceCache.
class CacheLayout {
 public:
  CacheLayout(std::vector<LayerShape> layers, PagePool& pool);

  size_t layers() const { return layers_.size(); }
  const LayerShape& shape(LayerId layer) const { return layers_[layer.value]; }
  const PageLayout& page(LayerId layer) const { return *pages_[layer.value]; }
  PageGroup group(LayerId layer) const { return groups_[layer.value]; }
  PagePool& pool() const { return *pool_; }

  // Bytes of pages that a sequence of `tokens`, fed in passes of at most `chunk`, holds at its peak.
  static uint64_t sequence_bytes(std::span<const LayerShape> layers, uint32_t tokens, uint32_t chunk);

 private:
  std::vector<LayerShape> layers_;
  std::vector<std::unique_ptr<PageLayout>> pages_;
  std::vector<PageGroup> groups_;
  PagePool* pool_;
};

class SequenceCache {
 public:
  explicit SequenceCache(const CacheLayout& layout);

  SequenceCache fork() const;

  uint32_t tokens() const { return tokens_; }
  std::span<const Table> tables(LayerId layer) const { return layers_[layer.value]; }

  // Makes room for `tokens` more in every layer. On kLimit nothing is lost and the call may be repeated.
  Status reserve(uint32_t tokens);
  // The next `tokens` positions of `layer` become slots of its tables, to be filled by write_entry.
  void append(LayerId layer, uint32_t tokens);
  // Encodes k and v [head_dim] of the entry at `position` for the table's `head_index`-th head.
  void write_entry(LayerId layer, size_t table, size_t head_index, TokenPos position, const float* k, const float* v);
  // All layers have appended `tokens`: they are part of the sequence now.
  void end_pass(uint32_t tokens);
  // Gives back the pages that sliding windows have passed.
  void release_passed();
  // Forgets what an unfinished pass appended.
  void abandon_pass();

  // Forgets all but the first `tokens`. False, with nothing changed, if a sliding window has passed entries that the
  // shorter sequence would read: it must be fed anew.
  bool trim(uint32_t tokens);
  // Keeps only `slots` (ascending) of one KV head; the head leaves its class unless all its heads keep the same.
  Status keep(LayerId layer, KvHead head, std::span<const SlotId> slots);

  // True if every table is unedited, so that stripes can be shared by prefix.
  bool shareable() const;
  // The pages of 64-token block `block`, layer by layer; an empty span where a window has passed it.
  std::vector<std::span<const PageId>> block_pages(uint32_t block) const;
  // Extends an unedited sequence that ends on a block border by a shared block.
  void append_block(std::span<const std::span<const PageId>> pages);

  // Fills an empty sequence: `fill` gives each layer's table `tokens` slots.
  Status restore(uint32_t tokens, const std::function<Status(LayerId layer, Table& table)>& fill);

  uint64_t kv_bytes() const;
  uint64_t entries() const;       // over all layers and heads
  uint64_t mean_entries() const;  // per KV head of a layer

 private:
  const CacheLayout* layout_;
  std::vector<std::vector<Table>> layers_;
  uint32_t tokens_ = 0;
};

}  // namespace loci

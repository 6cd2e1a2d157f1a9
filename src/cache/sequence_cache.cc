#include "cache/sequence_cache.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/assert.h"
#include "base/checked.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

std::vector<std::vector<KvHead>> classes_of(const LayerShape& shape) {
  if (!shape.classes.empty()) return shape.classes;
  std::vector<KvHead> heads(shape.kv_heads);
  for (uint32_t h = 0; h < shape.kv_heads; ++h) heads[h] = KvHead(h);
  return {std::move(heads)};
}

// What of a pattern is kept for queries from `position` on. A window that moves in steps is kept as one that moves by
// single positions, so that such a one may follow it.
Pattern kept_by(const Pattern& pattern, uint32_t position) {
  Pattern fine = pattern;
  fine.granule = 1;
  return fine.evicted(position);
}

bool same_heads(std::span<const KvHead> a, std::span<const KvHead> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

}  // namespace

CacheLayout::CacheLayout(std::vector<LayerShape> layers, PagePool& pool) : layers_(std::move(layers)), pool_(&pool) {
  for (LayerShape& shape : layers_) {
    shape.classes = classes_of(shape);
    pages_.push_back(std::make_unique<PageLayout>(page_layout(shape.codec, shape.head_dim)));
    groups_.emplace_back();
    for (const std::vector<KvHead>& heads : shape.classes)
      groups_.back().push_back(pool.group(pages_.back()->bytes, static_cast<uint32_t>(heads.size())));
  }
}

uint64_t CacheLayout::stripes(const Pattern& pattern, uint32_t tokens, uint32_t span) {
  const uint64_t all = div_up(tokens, kPageSlots);
  if (pattern.window == 0) return all;
  // Pages are given back at the end of a pass: until then the pass's own tokens come on top of what its first row sees
  // before the border of its page.
  const uint64_t before = pattern.granule % kPageSlots == 0
                              ? std::max(pattern.window, kPageSlots) - uint64_t{kPageSlots}  // its edge is a page's
                              : uint64_t{pattern.window} + pattern.granule - 2;
  return std::min(all, div_up(pattern.sinks, kPageSlots) + div_up(before, uint64_t{kPageSlots}) +
                           div_up(std::max(span, kPageSlots), kPageSlots));
}

uint64_t CacheLayout::sequence_bytes(std::span<const LayerShape> layers, uint32_t tokens, uint32_t span) {
  uint64_t bytes = 0;
  for (const LayerShape& shape : layers) {
    bytes += stripes({.window = shape.window}, tokens, span) * shape.kv_heads *
             page_layout(shape.codec, shape.head_dim).bytes;
  }
  return bytes;
}

SequenceCache::SequenceCache(const CacheLayout& layout) : layout_(&layout) { lay_out(); }

void SequenceCache::lay_out() {
  layers_.clear();
  layers_.resize(layout_->layers());
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    const LayerId layer(i);
    const LayerShape& shape = layout_->shape(layer);
    for (size_t c = 0; c < shape.classes.size(); ++c) {
      layers_[i].tables.emplace_back(layout_->pool(), layout_->group(layer, c), layout_->page(layer), shape.classes[c]);
      layers_[i].patterns.push_back({.window = shape.window});
    }
  }
}

SequenceCache SequenceCache::fork() const {
  SequenceCache copy(*layout_);
  for (size_t i = 0; i < layers_.size(); ++i) {
    copy.layers_[i].tables.clear();
    for (const Table& table : layers_[i].tables) copy.layers_[i].tables.push_back(table.fork());
    copy.layers_[i].patterns = layers_[i].patterns;
  }
  copy.tokens_ = tokens_;
  copy.edited_ = edited_;
  return copy;
}

Status SequenceCache::reserve(uint32_t tokens) {
  for (Layer& layer : layers_) {
    for (Table& table : layer.tables) LOCI_CHECK(table.reserve(tokens));
  }
  return {};
}

void SequenceCache::append(LayerId layer, uint32_t tokens) {
  for (Table& table : layers_[layer.value].tables) {
    for (uint32_t i = 0; i < tokens; ++i) table.append(TokenPos(tokens_ + i));
  }
}

void SequenceCache::write_entry(LayerId layer, size_t table, size_t head_index, TokenPos position, const float* k,
                                const float* v) {
  write_entries(layer, table, head_index, position, {.k = k, .v = v, .count = 1});
}

void SequenceCache::write_entries(LayerId layer, size_t table, size_t head_index, TokenPos first,
                                  const NewEntries& entries) {
  Table& target = layers_[layer.value].tables[table];
  // New entries are the table's last, so their slots count back from its end.
  const SlotId slot(target.slots_before(first));
  encode_entries(target.layout(), target.page_of(slot, head_index), slot.value % kPageSlots, entries);
}

void SequenceCache::end_pass(uint32_t tokens) { tokens_ += tokens; }

void SequenceCache::release_passed() {
  for (Layer& layer : layers_) {
    for (size_t t = 0; t < layer.tables.size(); ++t) {
      const Pattern& pattern = layer.patterns[t];
      if (pattern.dense()) continue;
      // The next query stands at tokens_.
      const Pattern kept = kept_by(pattern, tokens_);
      Table& table = layer.tables[t];
      table.release_between(SlotId(table.slots_before(TokenPos(kept.sinks))),
                            SlotId(table.slots_before(TokenPos(kept.floor))));
    }
  }
}

void SequenceCache::abandon_pass() {
  for (Layer& layer : layers_) {
    for (Table& table : layer.tables) table.trim(TokenPos(tokens_));
  }
}

bool SequenceCache::trim(uint32_t tokens) {
  if (tokens >= tokens_) return true;
  if (tokens == 0) {
    clear();
    return true;
  }
  if (tokens < edited_) return false;
  for (const Layer& layer : layers_) {
    for (size_t t = 0; t < layer.tables.size(); ++t) {
      const Table& table = layer.tables[t];
      const uint32_t end = table.slots_before(TokenPos(tokens));
      for (uint32_t slot = table.slots_before(TokenPos(layer.patterns[t].oldest(tokens))); slot < end;
           slot = (slot / kPageSlots + 1) * kPageSlots) {
        if (!table.stripe_present(slot / kPageSlots)) return false;
      }
    }
  }
  for (Layer& layer : layers_) {
    for (Table& table : layer.tables) table.trim(TokenPos(tokens));
  }
  tokens_ = tokens;
  return true;
}

void SequenceCache::clear() {
  lay_out();
  tokens_ = 0;
  edited_ = 0;
}

void SequenceCache::narrow(LayerId layer, size_t table, const Pattern& pattern) {
  Pattern& now = layers_[layer.value].patterns[table];
  if (now == pattern) return;
  // What earlier queries did not see is gone, even for a wider pattern.
  const Pattern left = tokens_ == 0 || now.dense() ? Pattern{} : kept_by(now, tokens_);
  const Pattern next = intersection(left, pattern);
  if (next == now) return;
  now = next;
  edited_ = tokens_;
}

Status SequenceCache::keep(LayerId layer, std::span<const KvHead> heads, std::span<const SlotId> slots) {
  LOCI_ASSERT(!heads.empty() && std::is_sorted(heads.begin(), heads.end()), "heads are kept in ascending order");
  Layer& edited = layers_[layer.value];
  for (size_t t = 0; t < edited.tables.size(); ++t) {
    const std::span<const KvHead> all = edited.tables[t].heads();
    if (!std::includes(all.begin(), all.end(), heads.begin(), heads.end())) continue;
    std::vector<size_t> indices;
    for (const KvHead head : heads)
      indices.push_back(static_cast<size_t>(std::lower_bound(all.begin(), all.end(), head) - all.begin()));
    LOCI_TRY(Table kept, edited.tables[t].kept(indices, slots));
    if (heads.size() == all.size()) {
      edited.tables[t] = std::move(kept);
      edited.patterns[t] = {};
    } else {
      static_cast<void>(edited.tables[t].split(indices));  // their pages go back
      edited.tables.push_back(std::move(kept));
      edited.patterns.push_back({});
    }
    edited_ = tokens_;
    return {};
  }
  return fail(ErrorCode::kInvalidArgument, "layer {} has no table of KV head {} and {} others", layer.value,
              heads.front().value, heads.size() - 1);
}

bool SequenceCache::shareable() const {
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    const std::vector<std::vector<KvHead>>& classes = layout_->shape(LayerId(i)).classes;
    if (layers_[i].tables.size() != classes.size()) return false;
    for (size_t t = 0; t < classes.size(); ++t) {
      if (!layers_[i].tables[t].affine() || !same_heads(layers_[i].tables[t].heads(), classes[t])) return false;
    }
  }
  return true;
}

std::vector<SharedStripe> SequenceCache::block_pages(uint32_t block) const {
  std::vector<SharedStripe> stripes;
  for (const Layer& layer : layers_) {
    for (const Table& table : layer.tables) {
      stripes.push_back({table.group(), table.stripe_present(block) ? table.stripe(block) : std::span<const PageId>{}});
    }
  }
  return stripes;
}

void SequenceCache::append_block(std::span<const SharedStripe> stripes) {
  size_t next = 0;
  for (Layer& layer : layers_) {
    for (Table& table : layer.tables) table.append_shared(stripes[next++].pages);
  }
  LOCI_ASSERT(next == stripes.size(), "a shared block has a stripe for every table");
  tokens_ += kPageSlots;
}

Table SequenceCache::empty_table(LayerId layer, std::vector<KvHead> heads) const {
  const std::vector<std::vector<KvHead>>& classes = layout_->shape(layer).classes;
  size_t home = 0;  // the class that they left
  for (size_t c = 0; c < classes.size(); ++c) {
    if (std::includes(classes[c].begin(), classes[c].end(), heads.begin(), heads.end())) home = c;
  }
  return Table(layout_->pool(), layout_->group(layer, home), layout_->page(layer), std::move(heads));
}

void SequenceCache::restore(Saved saved) {
  LOCI_ASSERT(tokens_ == 0 && saved.tables.size() == layers_.size(), "a saved sequence replaces an empty one");
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].tables = std::move(saved.tables[i]);
    layers_[i].patterns = std::move(saved.patterns[i]);
  }
  tokens_ = saved.tokens;
  edited_ = saved.edited;
}

uint64_t SequenceCache::kv_bytes() const {
  uint64_t bytes = 0;
  for (const Layer& layer : layers_) {
    for (const Table& table : layer.tables) bytes += table.page_bytes();
  }
  return bytes;
}

uint64_t SequenceCache::entries() const {
  uint64_t entries = 0;
  for (const Layer& layer : layers_) {
    for (size_t t = 0; t < layer.tables.size(); ++t) {
      const Table& table = layer.tables[t];
      const Pattern& pattern = layer.patterns[t];
      const uint32_t sinks = table.slots_before(TokenPos(pattern.sinks));
      const uint32_t oldest = table.slots_before(TokenPos(pattern.oldest(tokens_)));
      entries += uint64_t{sinks + (table.length() - oldest)} * table.heads().size();
    }
  }
  return entries;
}

uint64_t SequenceCache::mean_entries() const {
  uint64_t heads = 0;
  for (uint32_t i = 0; i < layers_.size(); ++i) heads += layout_->shape(LayerId(i)).kv_heads;
  return heads == 0 ? 0 : entries() / heads;
}

}  // namespace loci

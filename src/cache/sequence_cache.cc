#include "cache/sequence_cache.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/assert.h"
#include "base/checked.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

std::vector<KvHead> all_heads(uint32_t count) {
  std::vector<KvHead> heads(count);
  for (uint32_t h = 0; h < count; ++h) heads[h] = KvHead(h);
  return heads;
}

}  // namespace

CacheLayout::CacheLayout(std::vector<LayerShape> layers, PagePool& pool) : layers_(std::move(layers)), pool_(&pool) {
  for (const LayerShape& shape : layers_) {
    pages_.push_back(std::make_unique<PageLayout>(page_layout(shape.codec, shape.head_dim)));
    groups_.push_back(pool.group(pages_.back()->bytes, shape.kv_heads));
  }
}

uint64_t CacheLayout::sequence_bytes(std::span<const LayerShape> layers, uint32_t tokens, uint32_t chunk) {
  uint64_t bytes = 0;
  for (const LayerShape& shape : layers) {
    uint64_t stripes = div_up(tokens, kPageSlots);
    // A window's pages are given back at the end of a pass: until then the pass's own tokens come on top. One page more
    // where the window's edge stands inside a page.
    if (shape.window > 0) stripes = std::min(stripes, div_up(uint64_t{shape.window} + chunk, kPageSlots) + 1);
    bytes += stripes * shape.kv_heads * page_layout(shape.codec, shape.head_dim).bytes;
  }
  return bytes;
}

SequenceCache::SequenceCache(const CacheLayout& layout) : layout_(&layout) {
  layers_.resize(layout.layers());
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    const LayerId layer(i);
    layers_[i].emplace_back(layout.pool(), layout.group(layer), layout.page(layer),
                            all_heads(layout.shape(layer).kv_heads));
  }
}

SequenceCache SequenceCache::fork() const {
  SequenceCache copy(*layout_);
  for (size_t i = 0; i < layers_.size(); ++i) {
    copy.layers_[i].clear();
    for (const Table& table : layers_[i]) copy.layers_[i].push_back(table.fork());
  }
  copy.tokens_ = tokens_;
  return copy;
}

Status SequenceCache::reserve(uint32_t tokens) {
  for (std::vector<Table>& tables : layers_) {
    for (Table& table : tables) LOCI_CHECK(table.reserve(tokens));
  }
  return {};
}

void SequenceCache::append(LayerId layer, uint32_t tokens) {
  for (Table& table : layers_[layer.value]) {
    for (uint32_t i = 0; i < tokens; ++i) table.append(TokenPos(tokens_ + i));
  }
}

void SequenceCache::write_entry(LayerId layer, size_t table, size_t head_index, TokenPos position, const float* k,
                                const float* v) {
  Table& target = layers_[layer.value][table];
  // New entries are the table's last, so their slots count back from its end.
  const SlotId slot(target.slots_before(position));
  encode_entry(target.layout(), target.page_of(slot, head_index), slot.value % kPageSlots, k, v);
}

void SequenceCache::end_pass(uint32_t tokens) { tokens_ += tokens; }

void SequenceCache::release_passed() {
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    const uint32_t window = layout_->shape(LayerId(i)).window;
    if (window == 0 || tokens_ < window) continue;
    // The next query stands at tokens_ and reads positions above tokens_ - window.
    for (Table& table : layers_[i]) table.release_below(SlotId(table.slots_before(TokenPos(tokens_ - window + 1))));
  }
}

void SequenceCache::abandon_pass() {
  for (std::vector<Table>& tables : layers_) {
    for (Table& table : tables) table.trim(TokenPos(tokens_));
  }
}

bool SequenceCache::trim(uint32_t tokens) {
  if (tokens >= tokens_) return true;
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    const uint32_t window = layout_->shape(LayerId(i)).window;
    const TokenPos first(window == 0 || tokens < window ? 0 : tokens - window + 1);
    for (const Table& table : layers_[i]) {
      if (tokens > 0 && table.slots_before(first) < table.first_slot().value) return false;
    }
  }
  for (std::vector<Table>& tables : layers_) {
    for (Table& table : tables) table.trim(TokenPos(tokens));
  }
  tokens_ = tokens;
  return true;
}

Status SequenceCache::keep(LayerId layer, KvHead head, std::span<const SlotId> slots) {
  std::vector<Table>& tables = layers_[layer.value];
  for (size_t t = 0; t < tables.size(); ++t) {
    const std::span<const KvHead> heads = tables[t].heads();
    const auto found = std::find(heads.begin(), heads.end(), head);
    if (found == heads.end()) continue;
    const size_t index = static_cast<size_t>(found - heads.begin());
    LOCI_TRY(Table kept, tables[t].kept(index, slots));
    if (heads.size() == 1) {
      tables[t] = std::move(kept);
    } else {
      static_cast<void>(tables[t].split(index));  // its pages go back
      tables.push_back(std::move(kept));
    }
    return {};
  }
  return fail(ErrorCode::kInvalidArgument, "layer {} has no KV head {}", layer.value, head.value);
}

bool SequenceCache::shareable() const {
  return std::all_of(layers_.begin(), layers_.end(),
                     [](const std::vector<Table>& tables) { return tables.size() == 1 && tables[0].affine(); });
}

std::vector<std::span<const PageId>> SequenceCache::block_pages(uint32_t block) const {
  std::vector<std::span<const PageId>> pages;
  for (const std::vector<Table>& tables : layers_) {
    const Table& table = tables[0];
    pages.push_back(table.stripe_present(block) ? table.stripe(block) : std::span<const PageId>{});
  }
  return pages;
}

void SequenceCache::append_block(std::span<const std::span<const PageId>> pages) {
  LOCI_ASSERT(pages.size() == layers_.size(), "a shared block has pages for every layer");
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i][0].append_shared(pages[i]);
  tokens_ += kPageSlots;
}

Status SequenceCache::restore(uint32_t tokens, const std::function<Status(LayerId layer, Table& table)>& fill) {
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    LOCI_CHECK(fill(LayerId(i), layers_[i][0]));
    LOCI_ASSERT(layers_[i][0].length() == tokens, "every layer of a sequence holds the same tokens");
  }
  tokens_ = tokens;
  return {};
}

uint64_t SequenceCache::kv_bytes() const {
  uint64_t bytes = 0;
  for (const std::vector<Table>& tables : layers_) {
    for (const Table& table : tables) bytes += table.page_bytes();
  }
  return bytes;
}

uint64_t SequenceCache::entries() const {
  uint64_t entries = 0;
  for (const std::vector<Table>& tables : layers_) {
    for (const Table& table : tables) entries += table.entries();
  }
  return entries;
}

uint64_t SequenceCache::mean_entries() const {
  uint64_t heads = 0;
  for (uint32_t i = 0; i < layers_.size(); ++i) heads += layout_->shape(LayerId(i)).kv_heads;
  return heads == 0 ? 0 : entries() / heads;
}

}  // namespace loci

#include "engine/prefix_store.h"

#include <algorithm>

namespace loci {

Result<std::unique_ptr<PrefixStore>> PrefixStore::make(const CacheLayout& layout, PrefixSeed seed) {
  LOCI_TRY(const KeyedHasher::Secret secret, KeyedHasher::random_secret());
  return std::unique_ptr<PrefixStore>(new PrefixStore(layout, std::move(seed), std::make_unique<KeyedHasher>(secret)));
}

PrefixStore::PrefixStore(const CacheLayout& layout, PrefixSeed seed, std::unique_ptr<const BlockHasher> hasher)
    : layout_(layout),
      seed_(std::move(seed)),
      index_(std::move(hasher), [this](PrefixIndex::Handle handle) { drop(handle); }) {}

PrefixIndex::Handle PrefixStore::hold(const SequenceCache& cache, uint32_t block) {
  PrefixIndex::Handle handle = blocks_.size();
  if (free_.empty()) {
    blocks_.emplace_back();
  } else {
    handle = free_.back();
    free_.pop_back();
  }
  const std::vector<std::span<const PageId>> pages = cache.block_pages(block);
  for (uint32_t i = 0; i < pages.size(); ++i) {
    blocks_[handle].pages.emplace_back(pages[i].begin(), pages[i].end());
    for (const PageId page : pages[i]) layout_.pool().retain(layout_.group(LayerId(i)), page);
  }
  return handle;
}

void PrefixStore::drop(PrefixIndex::Handle handle) {
  Block& block = blocks_[handle];
  for (uint32_t i = 0; i < block.pages.size(); ++i) {
    for (const PageId page : block.pages[i]) layout_.pool().release(layout_.group(LayerId(i)), page);
  }
  block.pages.clear();
  free_.push_back(handle);
}

uint32_t PrefixStore::adopt(Sequence& sequence, std::span<const TokenId> prompt) {
  if (prompt.empty()) return 0;
  const PrefixIndex::Match match = index_.longest(seed_, prompt.first(prompt.size() - 1));
  for (const PrefixIndex::Handle handle : match.blocks) {
    const std::vector<std::vector<PageId>>& pages = blocks_[handle].pages;
    const std::vector<std::span<const PageId>> spans(pages.begin(), pages.end());
    sequence.cache.append_block(spans);
  }
  sequence.cache.release_passed();
  sequence.remembered_blocks = static_cast<uint32_t>(match.blocks.size());
  return static_cast<uint32_t>(match.tokens);
}

void PrefixStore::remember(Sequence& sequence) {
  if (!sequence.cache.shareable()) return;
  const uint32_t fed = std::min(sequence.cache.tokens(), sequence.prompt_tokens);
  const uint32_t blocks = fed / kPageSlots;
  if (blocks <= sequence.remembered_blocks) return;
  std::vector<PrefixIndex::Handle> handles;
  for (uint32_t block = sequence.remembered_blocks; block < blocks; ++block)
    handles.push_back(hold(sequence.cache, block));
  index_.insert(seed_, std::span(sequence.tokens).first(size_t{blocks} * kPageSlots), sequence.remembered_blocks,
                handles);
  sequence.remembered_blocks = blocks;
}

}  // namespace loci

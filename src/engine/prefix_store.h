// Pages of finished prompts, kept for later prompts that begin alike. Binds the prefix index to the page pool: a block
// of the index is one stripe of every layer, on which it holds references.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/prefix_index.h"
#include "engine/sequence.h"

namespace loci {

class PrefixStore {
 public:
  // `seed` names what must agree besides the tokens.
  static Result<std::unique_ptr<PrefixStore>> make(const CacheLayout& layout, PrefixSeed seed);

  // Lets an empty sequence begin with the longest known prefix of `prompt`, short of its last token. Returns its
  // tokens.
  uint32_t adopt(Sequence& sequence, std::span<const TokenId> prompt);
  // Remembers the whole prompt blocks that `sequence` has fed. Call it before pages that windows have passed are
  // released.
  void remember(Sequence& sequence);
  // Gives up the block that was used longest ago; false if there is none.
  bool evict_one() { return index_.evict_one(); }
  // Every page of every block, once for each reference held.
  template <typename Visit>
  void for_each_page(const Visit& visit) const {
    for (const Block& block : blocks_) {
      for (uint32_t i = 0; i < block.pages.size(); ++i) {
        for (const PageId page : block.pages[i]) visit(layout_.group(LayerId(i)), page);
      }
    }
  }
  const PrefixStats& stats() const { return index_.stats(); }

 private:
  struct Block {
    std::vector<std::vector<PageId>> pages;  // [layer][head]
  };

  PrefixStore(const CacheLayout& layout, PrefixSeed seed, std::unique_ptr<const BlockHasher> hasher);
  PrefixIndex::Handle hold(const SequenceCache& cache, uint32_t block);
  void drop(PrefixIndex::Handle handle);

  const CacheLayout& layout_;
  PrefixSeed seed_;
  std::vector<Block> blocks_;
  std::vector<PrefixIndex::Handle> free_;
  PrefixIndex index_;
};

}  // namespace loci
